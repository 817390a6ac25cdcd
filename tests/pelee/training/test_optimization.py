"""Optimizers and their settings."""

from typing import Any

import pytest
import torch
from torch import nn

from data.errors import SettingsError
from pelee.classification.training.settings import resolve_settings
from pelee.training.optimization import OptimizationSettings, build_optimizer


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
