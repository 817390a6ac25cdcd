"""Sampler of designs: within the budget and the space."""

import json

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from pelee.search.budget import Budget, smallest
from pelee.search.sampler import DesignSampler, nearest_design, pareto_front, smallest_extension
from pelee.search.space import PAPER, SPACE, size_names, to_model_settings
from tests.support.tiny_search import LIMIT, make_budget, multiply_adds_of


def run_trials(sampler: DesignSampler, trials: int) -> optuna.Study:
    """A study of a smooth stand-in for training: more multiply-adds are better, and a learning rate of 1 is best."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = made.ask(SPACE)
        cost = sampler.budget.cost(trial.params)
        trial.set_constraint("budget", cost / sampler.budget.limit - 1)
        made.tell(trial, [cost**0.3 - abs(trial.params["lr"] - 1), cost])
    return made


@pytest.mark.slow
def test_proposals_are_within_the_budget_and_the_space() -> None:
    trials = run_trials(DesignSampler(make_budget(), seed=3, random=3, morph=True), 5).trials
    for trial in trials:
        assert multiply_adds_of(to_model_settings(trial.params)) <= LIMIT
        assert trial.params.keys() == SPACE.keys()
        for name, kind in SPACE.items():
            assert kind._contains(kind.to_internal_repr(trial.params[name])), name
    assert len({json.dumps(trial.params) for trial in trials}) == 5
    params = trials[3].params  # every second proposal of the process extends a finished one
    assert any(
        all(params[name] >= other.params[name] for name in size_names())
        and all(params[name] == other.params[name] for name in ("stem", "two_way"))
        for other in trials[:3]
    )


def test_random_design_differs_with_the_seed_and_reaches_every_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "fits", lambda self, params: True)
    drawn = [DesignSampler(make_budget(), seed=seed, random=9, morph=False).random_design() for seed in range(40)]
    for name, kind in SPACE.items():
        values = {params[name] for params in drawn}
        assert len(values) > 2 or (isinstance(kind, CategoricalDistribution) and values == set(kind.choices)), name


def test_smallest_extension_of_the_nearest_design() -> None:
    low, high = smallest({}), {**PAPER, "two_way": False}
    wanted = {**PAPER, "blocks1": 2, "growth_rate": 24, "lr": 2.0}
    assert nearest_design(wanted, [low, high, PAPER]) == PAPER
    child = smallest_extension(wanted, PAPER)
    assert child == {**PAPER, "lr": 2.0}
    assert smallest_extension(wanted, low) == wanted


def test_pareto_front_holds_the_trials_that_none_dominates() -> None:
    made = optuna.create_study(directions=["maximize", "minimize"])
    assert pareto_front(made) == []
    for values in ([50.0, 3.0], [40.0, 4.0], [60.0, 5.0]):
        made.add_trial(optuna.trial.create_trial(values=values))
    assert [trial.values for trial in pareto_front(made)] == [[50.0, 3.0], [60.0, 5.0]]
