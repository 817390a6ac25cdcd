"""Learning rates and optimisers, held against numbers worked out by hand; what a run leaves."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pelee.classification.training.dataset import ClassificationBatch
from pelee.classification.training.lightning_module import ClassifierModule
from pelee.training.callbacks import AtomicCheckpoints
from pelee.training.ema import average
from pelee.training.loggers import keep_metrics
from pelee.training.optimization import OptimizationSettings, build_optimizer
from pelee.training.schedules import lr_factor, with_schedule
from tests.support.tiny_training import run_small, small_sets, small_settings


def factors(settings: OptimizationSettings, total: int) -> list[float]:
    return [lr_factor(step, total, settings) for step in range(total)]


def test_warmup_rises_by_equal_amounts_and_reaches_one_at_its_end() -> None:
    settings = OptimizationSettings(warmup_steps=4)
    assert factors(settings, 100)[:5] == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1])


def test_cosine_is_the_papers_formula() -> None:
    # PeleeNet's training, section 2.3: 0.5 * lr * (cos(pi * t / 120) + 1), t = 0 to 120
    found = factors(OptimizationSettings(schedule="cosine"), 120)
    assert found == pytest.approx([0.5 * (math.cos(math.pi * t / 120) + 1) for t in range(120)])
    assert (found[0], found[60]) == pytest.approx((1, 0.5))
    assert found[40] == pytest.approx(0.75)  # cos(60 degrees) = 1/2
    assert lr_factor(120, 120, OptimizationSettings()) == pytest.approx(0)


def test_cosine_falls_over_what_the_warmup_leaves() -> None:
    settings = OptimizationSettings(schedule="cosine", warmup_steps=20)
    assert lr_factor(20, 220, settings) == pytest.approx(1)
    assert lr_factor(120, 220, settings) == pytest.approx(0.5)  # the middle of 20 to 220
    assert lr_factor(220, 220, settings) == pytest.approx(0)
    assert lr_factor(500, 220, settings) == pytest.approx(0)  # it does not rise again


def test_multi_step_is_the_papers_schedule_for_voc() -> None:
    settings = OptimizationSettings(schedule="multi-step", lr=0.005, milestones=(2 / 3, 5 / 6), gamma=0.1)
    rates = {step: 0.005 * lr_factor(step, 120_000, settings) for step in (0, 79_999, 80_000, 99_999, 100_000, 119_999)}
    assert rates == pytest.approx(
        {0: 0.005, 79_999: 0.005, 80_000: 0.0005, 99_999: 0.0005, 100_000: 0.00005, 119_999: 0.00005}
    )


def test_multi_step_with_the_recipes_rounded_shares_drops_at_the_same_steps() -> None:
    settings = OptimizationSettings(schedule="multi-step", milestones=(0.6666667, 0.8333333), warmup_steps=500)
    drops = [
        step
        for step in range(501, 120_000)
        if lr_factor(step, 120_000, settings) < lr_factor(step - 1, 120_000, settings)
    ]
    assert drops == [80_000, 100_000]


def test_a_warmup_takes_at_most_a_tenth_of_the_run() -> None:
    found = factors(OptimizationSettings(warmup_steps=300), 50)
    assert found[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert factors(OptimizationSettings(warmup_steps=300), 9)[0] == 1


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


def test_sgd_takes_the_settings_and_each_group_its_own_rate() -> None:
    backbone, head = nn.Linear(2, 2), nn.Linear(2, 1)
    groups: list[dict[str, Any]] = [{"params": backbone.parameters(), "lr": 0.02}, {"params": head.parameters()}]
    settings = OptimizationSettings(lr=0.1, momentum=0.8, nesterov=True, weight_decay=3e-4)
    optimizer = build_optimizer(groups, settings)
    assert isinstance(optimizer, torch.optim.SGD)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.1]
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.8, True, 3e-4)


def test_adamw() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2).parameters(), OptimizationSettings(optimizer="adamw", lr=1e-3))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.param_groups[0]["weight_decay"] == 5e-4


def test_the_schedule_scales_every_group_from_its_first_step_on() -> None:
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    settings = OptimizationSettings(lr=0.1, schedule="multi-step", milestones=(0.5,), warmup_steps=1)
    groups: list[dict[str, Any]] = [{"params": a.parameters(), "lr": 0.01}, {"params": b.parameters()}]
    optimizer = build_optimizer(groups, settings)
    schedule: Any = with_schedule(optimizer, 10, settings)["lr_scheduler"]
    assert schedule["interval"] == "step"
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule["scheduler"].step()
    # half of the rate in the one step of warm-up, then all of it, and a tenth from half of the ten steps on
    expected = [0.05, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert [rate for _, rate in rates] == pytest.approx(expected)
    assert [rate for rate, _ in rates] == pytest.approx([rate / 10 for rate in expected])


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


def test_metrics_of_earlier_starts_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    keep_metrics(file)  # nothing there yet
    for number in range(3):
        file.write_text(str(number))
        keep_metrics(file)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "metrics-1.csv": "0",
        "metrics-2.csv": "1",
        "metrics-3.csv": "2",
    }


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
