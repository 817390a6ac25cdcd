"""Ablation studies as their files describe them."""

from pathlib import Path

import pytest

from data.errors import SettingsError
from detection.ablation.experiment import Comparison, read_comparison


def test_an_unknown_comparison_names_those_that_ship() -> None:
    with pytest.raises(SettingsError, match="neither a file nor one of design, ingredients, peer, recipes"):
        read_comparison("desing")


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("settings: {epochs: 3}\nvariants: {1: , b: {lr: 0.1, backbone: x}}")
    read = read_comparison(str(tmp_path / "own.yaml"))
    assert read == Comparison(None, {"epochs": 3}, {"1": {}, "b": {"lr": 0.1, "backbone": "x"}})
