"""Trainer: the weights with which a run ends."""

from pathlib import Path

import pytest
import torch

from pelee.classification.training.dataset import ClassificationBatch
from pelee.classification.training.lightning_module import ClassifierModule
from tests.support.tiny_training import run_small, small_sets, small_settings


def test_what_is_measured_last_is_what_a_run_ends_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The averaged weights of the best epoch, not those of the last one."""
    scores = iter([0.25, 0.75, 0.5, 0.7])
    seen: list[torch.Tensor] = []

    def validation_step(self: ClassifierModule, batch: ClassificationBatch, batch_idx: int) -> None:
        seen.append(self.network.get_parameter("head.weight").detach().clone())
        self.log("val/top1", next(scores), batch_size=4)
        self.log("val/top5", 1.0, batch_size=4)

    monkeypatch.setattr(ClassifierModule, "validation_step", validation_step)
    module = run_small(small_sets(tmp_path / "data"), tmp_path / "run", small_settings(epochs=3, ema_decay=0.5))
    first, best, last, measured = seen
    assert not any(torch.equal(best, other) for other in (first, last))
    torch.testing.assert_close(measured, best, rtol=0, atol=0)
    torch.testing.assert_close(module.network.get_parameter("head.weight").detach(), best, rtol=0, atol=0)
