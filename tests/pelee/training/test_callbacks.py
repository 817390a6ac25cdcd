"""Callbacks: checkpoints are written whole."""

from pathlib import Path

import pytest
import torch

from pelee.training.callbacks import AtomicCheckpoints


def test_a_checkpoint_that_fails_half_way_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"weights": torch.arange(1000)}, str(path))
    whole = path.read_bytes()

    def full_disk(self: Path, content: memoryview) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_bytes", full_disk)
        AtomicCheckpoints().save_checkpoint({"weights": torch.zeros(1000)}, str(path))
    assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    state = AtomicCheckpoints().load_checkpoint(path, weights_only=True)
    assert state["weights"].tolist() == list(range(1000))
