"""Budget: costs of designs, and shrinking a design until it fits."""

import pytest

from pelee.models.peleenet import PeleeNet
from pelee.search.budget import Budget, format_cost, smallest
from pelee.search.space import PAPER, size_names, to_model_settings
from tests.support.tiny_search import LIMIT, make_budget, multiply_adds_of


@pytest.mark.slow
def test_cost_is_that_of_the_built_network() -> None:
    params = {**smallest({"stem": "plain"}), "blocks3": 4, "transition": 0.875}
    assert make_budget().cost(params) == multiply_adds_of(to_model_settings(params))
    assert make_budget().count(PAPER)[0] == sum(p.numel() for p in PeleeNet(2).parameters())


@pytest.mark.slow
def test_milliseconds_are_measured_once_and_rise_with_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Budget("ms", 1.0, 2, 64)
    small, large = measured.cost(smallest({})), measured.cost({**PAPER, "blocks3": 10})
    assert 0 < small < large
    monkeypatch.setattr("pelee.search.budget.build", None)  # not measured again
    assert measured.cost(smallest({})) == small


@pytest.mark.slow
def test_shrink_to_fit_returns_a_design_just_within_the_budget() -> None:
    known = make_budget()
    fitting = known.shrink_to_fit(PAPER)
    assert fitting is not None and not known.fits(PAPER)
    assert 0.7 * LIMIT < known.cost(fitting) <= LIMIT
    assert all(smallest({})[name] <= fitting[name] <= PAPER[name] for name in size_names())
    assert known.shrink_to_fit(fitting) == fitting
    assert known.shrink_to_fit(PAPER, floor=PAPER) is None


def test_format_cost_has_a_unit() -> None:
    assert format_cost(8.346, "ms") == "8.35 ms" and format_cost(1.2e9, "multiply-adds") == "1,200.0 M multiply-adds"
