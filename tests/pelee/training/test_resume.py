"""Resuming: what a run's folder must hold, and which settings may change."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from data.errors import SettingsError
from pelee.training.recipes import to_plain
from pelee.training.resume import check_output, check_resumed


@dataclass(kw_only=True)
class Pair:
    """Two settings."""

    x: int = 1
    y: int = 2


def test_a_resumed_run_keeps_its_settings() -> None:
    begun = to_plain(Pair())
    check_resumed(begun, Pair(x=5), {"x"})
    with pytest.raises(SettingsError, match="begun with y 2 and cannot go on with 5"):
        check_resumed(begun, Pair(y=5), {"x"})


def test_output_of_an_earlier_run_is_resumed_or_kept(tmp_path: Path) -> None:
    check_output(tmp_path, resume=False)
    with pytest.raises(SettingsError, match="nothing to resume"):
        check_output(tmp_path, resume=True)
    (tmp_path / "last.ckpt").write_bytes(b"begun")
    check_output(tmp_path, resume=True)
    with pytest.raises(SettingsError, match="holds an earlier run; continue it with --resume"):
        check_output(tmp_path, resume=False)
