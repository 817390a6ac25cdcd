"""Every schedule's rates, worked out by hand, by torch's own, and through small runs; resumed ones, too."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from data.errors import SettingsError
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.lightning_module import MONITOR, ClassifierModule
from pelee.classification.training.settings import RECIPES, resolve_settings
from pelee.training.optimization import Cycles, OptimizationSettings, build_optimizer
from pelee.training.recipes import recipe_names
from pelee.training.schedules import lr_factor, triangular2
from tests.support.tiny_training import STEPS, Stop, run_small, small_sets, small_settings, watch

Sets = tuple[ImageBatches, ImageBatches]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return small_sets(tmp_path_factory.mktemp("sets"))


def rates(settings: OptimizationSettings, total: int) -> list[float]:
    return [settings.lr * lr_factor(step, total, settings) for step in range(total)]


# The functions


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


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_decay_of_twice_lambda_is_keras_l2(optimizer: Any) -> None:
    l2, weights = 0.05, []
    for decay in (2 * l2, 0.0):
        weight = nn.Parameter(torch.tensor([1.5, -0.5]))
        settings = OptimizationSettings(optimizer=optimizer, lr=0.1, weight_decay=decay)
        moves = build_optimizer([weight], settings)
        assert type(moves).__name__.lower() == optimizer
        for _ in range(5):
            moves.zero_grad()
            loss = (weight * torch.tensor([0.3, 0.7])).sum() + (0 if decay else l2 * weight.square().sum())
            loss.backward()
            moves.step()
        weights.append(weight.detach())
    assert torch.allclose(*weights, atol=1e-6)


def test_sizes_go_any_way() -> None:
    settings = resolve_settings("tiny-densenet", {}, "tiny-imagenet")
    assert [settings.size_at(progress) for progress in (0, 0.24, 0.25, 0.49, 0.5, 0.74, 0.75, 0.99)] == [
        *(32, 32, 64, 64, 16, 16, 64, 64)
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schedule": "triangular2"}, "triangular2 needs them"),
        ({"cycles": [[1e-4, 1e-3, 2, 4]]}, "no other takes them; got 1 with schedule cosine"),
        ({"cycles": [[1e-3, 1e-4, 2, 4]], "schedule": "triangular2"}, "min_lr 0.001 is above max_lr 0.0001"),
        ({"cycles": [[1e-4, 1e-3, 2, 4]] * 2, "schedule": "triangular2"}, "ends must rise, got 4.0, 4.0"),
        ({"cycles": [[1e-4, 1e-3, 2, 4]], "schedule": "triangular2", "warmup_steps": 5}, "rises by itself"),
        ({"size_phases": [[32, 0.5], [16, 0.25]]}, "size_phases: the phases' ends must rise, got 0.5, 0.25"),
        ({"momentum": 0, "nesterov": True}, "needs a momentum"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        resolve_settings(None, settings, "cifar10")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", recipe_names(RECIPES))
def test_every_recipe_loads_on_its_data(name: str) -> None:
    usual = {"cars": "cars", "report": "cifar10", "cifar10": "cifar10", "inception-v3": "imagefolder"}
    settings = resolve_settings(name, {}, usual.get(name, "tiny-imagenet"))
    assert settings.epochs >= 8


# Runs


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


def test_patience_ends_a_run_that_no_longer_improves(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant_scores(monkeypatch)
    module = run_small(sets, tmp_path, small_settings(epochs=9, patience=2))
    assert module.trainer.global_step == 3 * STEPS  # the first score is the best; two without a better one
