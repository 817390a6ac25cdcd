"""Trainer: the weights with which a run ends, room on the disk, and the first losses."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from data.errors import SettingsError
from pelee.classification.training.dataset import ClassificationBatch
from pelee.classification.training.lightning_module import ClassifierModule
from pelee.training.callbacks import TrainingBar
from tests.support.tiny_training import run_small, small_sets, small_settings


@pytest.mark.slow
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


def test_a_full_disk_is_met_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = small_sets(tmp_path / "data")
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(SettingsError, match="0 MB free, and the checkpoints need"):
        patch.setattr("pelee.training.trainer.shutil.disk_usage", lambda _: usage._replace(free=10))
        run_small(sets, tmp_path / "run", small_settings())
    assert not (tmp_path / "run" / "last.ckpt").exists()


@pytest.mark.slow
def test_a_short_run_logs_its_loss(tmp_path: Path) -> None:
    run_small(small_sets(tmp_path / "data"), tmp_path / "run", small_settings())
    rows = csv.DictReader((tmp_path / "run" / "logs" / "metrics.csv").open())
    assert [row["step"] for row in rows if row["train/loss"]] == ["5", "11"]  # of 12 steps, numbered from 0


@pytest.mark.slow
def test_the_bar_shows_each_of_the_first_steps(tmp_path: Path) -> None:
    bar = TrainingBar()
    assert bar.refresh_rate == 10
    trainer = run_small(small_sets(tmp_path / "data"), tmp_path / "run", small_settings(epochs=1)).trainer
    bar.setup(trainer, trainer.lightning_module, "fit")
    assert bar.refresh_rate == 1
