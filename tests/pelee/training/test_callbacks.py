"""Callbacks: checkpoints are written whole; the moving average of the weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pelee.training.callbacks import AtomicCheckpoints, average


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


def test_the_moving_average_follows_a_short_run_and_then_keeps_its_decay() -> None:
    update = average(0.9)
    old, new = torch.tensor([0.0]), torch.tensor([1.0])
    # after 1 update: (1 + 1) / (10 + 1) of the old; after 71: 72 / 81 = 0.889; after 81: 82 / 91 = 0.901, so 0.9
    assert float(update(old, new, torch.tensor(1))) == pytest.approx(9 / 11)
    assert float(update(old, new, torch.tensor(71))) == pytest.approx(1 / 9)
    assert float(update(old, new, 81)) == pytest.approx(0.1)


def test_a_hundred_steps_are_not_lost_in_the_average() -> None:
    module = nn.Linear(1, 1, bias=False)
    averaged = torch.optim.swa_utils.AveragedModel(module, avg_fn=average(0.998))
    for step in range(100):
        module.weight.data.fill_(step / 99)
        averaged.update_parameters(module)
    assert float(averaged.module.weight) > 0.8  # with 0.998 from the start it would be below 0.1
