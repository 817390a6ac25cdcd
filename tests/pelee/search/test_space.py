"""Search space: the paper's design, and the settings of a trial."""

import pytest

from pelee.classification.training.settings import ClassifierSettings
from pelee.models.peleenet import PeleeNet, PeleeNetConfig
from pelee.search.space import PAPER, SPACE, nearest_value, size_names, space_to_json, to_model_settings, to_settings


@pytest.mark.slow
def test_paper_is_a_design_of_the_space() -> None:
    assert PAPER.keys() == SPACE.keys()
    for name, kind in SPACE.items():
        assert kind._contains(kind.to_internal_repr(PAPER[name])), name
    ours, theirs = PeleeNet(10, PeleeNetConfig(**to_model_settings(PAPER))), PeleeNet(10)
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}


def test_to_settings_sets_design_rate_and_decay_over_the_base() -> None:
    base = ClassifierSettings(lr=0.2, weight_decay=0.01, model_settings={"dropout": 0.1}, epochs=3)
    settings = to_settings({**PAPER, "lr": 0.5, "weight_decay": 2.0, "transition": 0.5}, base)
    assert (settings.lr, settings.weight_decay, settings.epochs) == (0.1, 0.02, 3)
    # 32 + 3 × 32 = 128, halved; 64 + 4 × 32 = 192, halved; 96 + 8 × 32 = 352; 176 + 6 × 32 = 368
    assert settings.model_settings["transitions"] == [64, 96, 176, 184]
    assert settings.model_settings["dropout"] == 0.1 and "transition" not in settings.model_settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("blocks1", 2.4, 2), ("stem_channels", 21.0, 24), ("stem_channels", 19.0, 16), ("transition", 0.7, 0.75)],
)
def test_nearest_value_is_on_the_grid_of_the_space(name: str, value: float, expected: float) -> None:
    assert nearest_value(name, value) == expected and type(nearest_value(name, value)) is type(expected)


def test_size_names_are_the_numeric_parameters_of_the_network() -> None:
    assert set(SPACE) - set(size_names()) == {"stem", "two_way", "lr", "weight_decay"}
    assert space_to_json().keys() == SPACE.keys()
