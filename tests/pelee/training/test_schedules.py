"""Every schedule's rates, worked out by hand, by torch's own, and through small runs; resumed ones, too."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.lightning_module import MONITOR, ClassifierModule
from pelee.classification.training.settings import resolve_settings
from pelee.training.optimization import Cycles, OptimizationSettings, build_optimizer
from pelee.training.schedules import lr_factor, triangular2, with_schedule
from tests.support.tiny_training import STEPS, Stop, run_small, small_sets, small_settings, watch

Sets = tuple[ImageBatches, ImageBatches]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return small_sets(tmp_path_factory.mktemp("sets"))


def rates(settings: OptimizationSettings, total: int) -> list[float]:
    return [settings.lr * lr_factor(step, total, settings) for step in range(total)]


# Functions


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


@pytest.mark.slow
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


def test_geometric_drops_at_every_epoch_or_every_few() -> None:
    settings = OptimizationSettings(schedule="geometric", lr=1.0, epochs=5, gamma=0.5)
    assert rates(settings, 10) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625]
    assert rates(dataclasses.replace(settings, gamma_epochs=2), 10) == [1] * 4 + [0.5] * 4 + [0.25] * 2
    assert rates(settings, 7) == [1, 1, 0.5, 0.25, 0.25, 0.125, 0.0625]  # max_steps: epochs of 1.4 steps


def test_multi_step_without_milestones_keeps_the_rate() -> None:
    assert set(rates(OptimizationSettings(schedule="multi-step", milestones=(), lr=1e-3), 40)) == {1e-3}


def test_triangular2_is_the_reports_table() -> None:
    settings = resolve_settings("tiny-densenet", {}, "tiny-imagenet")
    per_epoch = 10
    found = rates(settings, settings.epochs * per_epoch)
    at = {epoch: found[round(epoch * per_epoch)] for epoch in (0, 3, 6, 9, 11.9)}
    assert at == pytest.approx({0: 1e-4, 3: 3.5e-4, 6: 6e-4, 9: 3.5e-4, 11.9: 1e-4 + 5e-4 * 0.1 / 6})
    # 24 to 36 in steps of 4: a whole cycle to 32, and the half of one that is half as high
    at = {epoch: found[epoch * per_epoch] for epoch in (12, 18, 24, 28, 32, 34)}
    assert at == pytest.approx({12: 1e-5, 18: 6e-5, 24: 1e-5, 28: 6e-5, 32: 1e-5, 34: 1e-5 + 2.5e-5 / 2})
    # 36 to 42 and 48 to 54 in steps of 2: peaks at the second epoch and, half as high, at the sixth
    at = {epoch: found[epoch * per_epoch] for epoch in (36, 38, 40, 41, 44, 48, 50, 52, 53)}
    assert at == pytest.approx(
        {36: 1e-6, 38: 6e-6, 40: 1e-6, 41: 2.25e-6, 44: 6e-5, 48: 1e-7, 50: 6e-7, 52: 1e-7, 53: 2.25e-7}
    )
    assert max(found) == pytest.approx(6e-4) and min(found) == pytest.approx(1e-7)


def test_triangular2_is_torchs_cyclic_schedule() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    cyclic = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.01, 0.09, step_size_up=7, mode="triangular2")
    phases = [Cycles(0.01, 0.09, 0.7, 3.0)]  # epochs of 10 steps; past its end the last phase goes on
    for step in range(60):
        assert triangular2(step / 10, phases) == pytest.approx(cyclic.get_last_lr()[0])
        optimizer.step()
        cyclic.step()


def test_plateau_leaves_the_warmup_only() -> None:
    found = rates(OptimizationSettings(schedule="plateau", lr=1.0, warmup_steps=3), 50)
    assert found == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 47)


# Runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schedule": "geometric", "gamma": 0.5}, [0.01] * 3 + [0.005] * 3 + [0.0025] * 3),
        (
            {"schedule": "triangular2", "cycles": (Cycles(0.001, 0.004, 1, 2), Cycles(0.1, 0.4, 1, 3))},
            [0.001, 0.002, 0.003, 0.004, 0.003, 0.002, 0.1, 0.2, 0.3],
        ),
        # The score never changes: the first one is the best, the second lowers the rate of the third epoch.
        ({"schedule": "plateau", "gamma": 0.5, "plateau_patience": 0}, [0.01] * 6 + [0.005] * 3),
        # With patience the second is passed over, and the warm-up of a tenth of the steps multiplies what is there.
        (
            {"schedule": "plateau", "gamma": 0.5, "plateau_patience": 1, "warmup_steps": 9},
            [0.005] + [0.01] * 8 + [0.005] * 3,
        ),
    ],
    ids=lambda value: value.get("schedule") if isinstance(value, dict) else "",
)
def test_a_run_s_rates(
    changes: dict[str, Any], expected: list[float], sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watch(monkeypatch)
    constant_scores(monkeypatch)
    run_small(sets, tmp_path, small_settings(epochs=len(expected) // STEPS, **changes))
    assert found == pytest.approx(expected)


def constant_scores(patch: pytest.MonkeyPatch) -> None:
    """Every validation finds the same."""

    def half(self: ClassifierModule, batch: Any, batch_idx: int) -> None:
        for name in (MONITOR, "val/top5"):
            self.log(name, 0.5, batch_size=1)

    patch.setattr(ClassifierModule, "validation_step", half)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [2 * STEPS, 2 * STEPS + 2], ids=["after a validation", "within an epoch"])
def test_a_plateau_resumes_bit_for_bit(
    stop_at: int, sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant_scores(monkeypatch)
    settings = small_settings(
        epochs=5, schedule="plateau", gamma=0.5, plateau_patience=1, checkpoint_every=1, optimizer="adam"
    )
    with monkeypatch.context() as patch:
        straight_rates = watch(patch)
        straight = run_small(sets, tmp_path / "straight", settings)
    assert straight_rates == pytest.approx([0.01] * 9 + [0.005] * 6)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        before = watch(patch, stop_at)
        run_small(sets, tmp_path / "halved", settings)
    with monkeypatch.context() as patch:
        after = watch(patch)
        halved = run_small(sets, tmp_path / "halved", settings, resume=True)
    assert before + after == straight_rates
    for name, tensor in straight.network.state_dict().items():
        assert torch.equal(tensor, halved.network.state_dict()[name]), name


@pytest.mark.slow
def test_patience_ends_a_run_that_no_longer_improves(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant_scores(monkeypatch)
    module = run_small(sets, tmp_path, small_settings(epochs=9, patience=2))
    assert module.trainer.global_step == 3 * STEPS  # the first score is the best; two without a better one
