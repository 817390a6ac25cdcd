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
    # after 1 update: (1 + 1) / (10 + 1) of the old; after 71: 72 / 81 = 0.889; after 81: 82 / 91 = 0.901, so 0.9
    for updates, share in ((torch.tensor(1), 9 / 11), (torch.tensor(71), 1 / 9), (81, 0.1)):
        old, counters = [torch.zeros(1), torch.zeros(2)], [torch.tensor(100)]
        update(old, [torch.ones(1), torch.full((2,), 2.0)], updates)
        assert float(old[0]) == pytest.approx(share) and old[1].tolist() == pytest.approx([2 * share] * 2)
        update(counters, [torch.tensor(300)], updates)
        assert counters[0].item() == int(100 + 200 * share) and counters[0].dtype == torch.int64


def test_a_hundred_steps_are_not_lost_in_the_average() -> None:
    module = nn.Linear(1, 1, bias=False)
    averaged = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=average(0.998))
    for step in range(100):
        module.weight.data.fill_(step / 99)
        averaged.update_parameters(module)
    assert float(averaged.module.weight) > 0.8  # with 0.998 from the start it would be below 0.1
