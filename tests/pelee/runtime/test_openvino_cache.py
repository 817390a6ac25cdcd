"""Cache of compiled OpenVINO models: hits, damaged and old entries, unwritable folders."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from pelee.runtime import openvino_cache as compiled
from pelee.runtime.openvino_session import OpenVinoSession
from tests.support.tiny_openvino import SIZE, random_images, save_openvino


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.slow
def test_a_compiled_model_is_kept_and_opened_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_openvino(tmp_path / "m")
    first = OpenVinoSession(model)(random_images(2))
    (entry,) = cache.iterdir()
    monkeypatch.setattr(compiled, "_compile", lambda *_: pytest.fail("compiled again"))
    for ours, theirs in zip(OpenVinoSession(model)(random_images(2)), first, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    monkeypatch.undo()
    monkeypatch.setattr(compiled, "cache_folder", lambda: cache)
    other = save_openvino(tmp_path / "other", factor=2)
    np.testing.assert_array_equal(OpenVinoSession(other)(random_images(2))[0], first[0] * 4)
    OpenVinoSession(model, mode="throughput")
    assert len(list(cache.iterdir())) == 3 and entry.exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"short", bytes(500)])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, cache: Path, damage: bytes) -> None:
    model = save_openvino(tmp_path / "m")
    OpenVinoSession(model)
    (entry,) = cache.iterdir()
    # with a right digest, too, so that it is OpenVINO who refuses it
    for content in (damage, hashlib.sha256(damage).digest() + damage):
        entry.write_bytes(content)
        assert OpenVinoSession(model)(random_images(1))[0].shape == (1, SIZE, SIZE, 3)
        written = entry.read_bytes()
        assert len(written) > 1000 and written[:32] == hashlib.sha256(written[32:]).digest()


def test_old_entries_go(cache: Path) -> None:
    cache.mkdir()
    for number in range(compiled.ENTRIES + 3):
        (cache / f"{number}.blob").touch()
        os.utime(cache / f"{number}.blob", (number, number))
    compiled._forget_old(cache)
    left = {int(path.stem) for path in cache.iterdir()}
    assert left == set(range(3, compiled.ENTRIES + 3))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert OpenVinoSession(save_openvino(tmp_path / "m"))(random_images(1))[1].shape == (1, 1, 1, 1)
