"""Search space as plain data, and the model and training settings of its parameters."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from pelee.classification.training.settings import ClassifierSettings
from pelee.models.peleenet import PeleeNetConfig

MODEL = "peleenet"
# Parameters of the four stages end in the stage's number. `transition` is the share of a stage's channels that its
# transition keeps (PeleeNet keeps all, DenseNet half); `lr` and `weight_decay` are factors of the settings' own values,
# so that one space serves every recipe and optimizer.
SPACE: dict[str, BaseDistribution] = {
    "stem": CategoricalDistribution(("two-branch", "plain", "none")),
    "stem_channels": IntDistribution(16, 48, step=8),
    "growth_rate": IntDistribution(16, 48, step=8),
    "two_way": CategoricalDistribution((True, False)),
    "blocks1": IntDistribution(1, 4),
    "blocks2": IntDistribution(1, 6),
    "blocks3": IntDistribution(2, 10),
    "blocks4": IntDistribution(1, 8),
    "bottleneck1": IntDistribution(1, 4),
    "bottleneck2": IntDistribution(1, 4),
    "bottleneck3": IntDistribution(1, 4),
    "bottleneck4": IntDistribution(1, 4),
    "transition": FloatDistribution(0.5, 1.0, step=0.125),
    "lr": FloatDistribution(0.2, 5.0, log=True),
    "weight_decay": FloatDistribution(0.1, 10.0, log=True),
}
TRAINING = ("lr", "weight_decay")  # parameters that do not change the network
PAPER: dict[str, Any] = {
    **{"stem": "two-branch", "stem_channels": 32, "growth_rate": 32, "two_way": True, "transition": 1.0},
    **{f"blocks{stage}": layers for stage, layers in enumerate(PeleeNetConfig().blocks, 1)},
    **{f"bottleneck{stage}": width for stage, width in enumerate(PeleeNetConfig().bottleneck_widths, 1)},
    **{"lr": 1.0, "weight_decay": 1.0},
}


def to_model_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """The `PeleeNetConfig` settings of a design; `params` has a value for each parameter of `SPACE`."""
    blocks = [params[f"blocks{stage}"] for stage in range(1, 5)]
    channels = 3 if params["stem"] == "none" else params["stem_channels"]
    transitions = []
    for layers in blocks:
        channels += layers * params["growth_rate"]
        channels = max(8, round(channels * params["transition"] / 8) * 8) if params["transition"] < 1 else channels
        transitions.append(channels)
    return {
        "blocks": blocks,
        "growth_rate": params["growth_rate"],
        "bottleneck_widths": [params[f"bottleneck{stage}"] for stage in range(1, 5)],
        "two_way": params["two_way"],
        "stem": params["stem"],
        "stem_channels": params["stem_channels"],
        "transitions": transitions,
    }


def to_settings(params: Mapping[str, Any], base: ClassifierSettings) -> ClassifierSettings:
    """The training settings of a trial: the base's, with the trial's design, learning rate and weight decay."""
    return replace(
        base,
        model_settings={**base.model_settings, **to_model_settings(params)},
        lr=base.lr * params["lr"],
        weight_decay=base.weight_decay * params["weight_decay"],
    )


def size_names() -> list[str]:
    """The parameters of `SPACE` that are sizes of the network: numeric, and not of the training."""
    return [
        name for name, kind in SPACE.items() if not isinstance(kind, CategoricalDistribution) and name not in TRAINING
    ]


def nearest_value(name: str, value: float) -> float | int:
    """The nearest value of a parameter of the space."""
    kind = SPACE[name]
    assert isinstance(kind, IntDistribution | FloatDistribution) and kind.step
    value = kind.low + round((value - kind.low) / kind.step) * kind.step
    return int(value) if isinstance(kind, IntDistribution) else value


def space_to_json() -> dict[str, str]:
    """The space as JSON, stored with a search to detect a changed space on resumption."""
    return {name: distribution_to_json(kind) for name, kind in SPACE.items()}
