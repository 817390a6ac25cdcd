"""Which design to train next: at random at first, then where a Gaussian process expects most, within the budget."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import GPSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pelee.search.budget import Budget, smallest
from pelee.search.space import SPACE, size_names

TRIES = 100


class DesignSampler(GPSampler):
    """Optuna's Gaussian-process sampler, held to a budget that is known before anything is trained.

    A design over the budget is never proposed: a random one is drawn again, and the process's own, which it would
    repeat, is made smaller on the straight way to the smallest design until it fits. The process knows of the budget,
    too, by the constraint that every trial carries.

    Args:
        random: trials that are drawn at random before the process begins.
        morph: make every second proposal of the process one that extends a finished trial, the nearest on the front.
    """

    def __init__(self, budget: Budget, *, seed: int, random: int, morph: bool) -> None:
        super().__init__(seed=seed, n_startup_trials=random)
        self.budget, self.morph = budget, morph
        self.rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of the space, from the first trial on, so that every value is the sampler's own."""
        return dict(SPACE)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        params = super().sample_relative(study, trial, search_space)
        if not params:
            return self.random_design()
        fitting = self.budget.shrink_to_fit(params)
        if self.morph and trial.number % 2:
            parent = nearest_design(params, [one.params for one in pareto_front(study)])
            # never None: the parent was trained, and is within the budget
            fitting = self.budget.shrink_to_fit(smallest_extension(params, parent), parent)
        return fitting or self.random_design()

    def random_design(self) -> dict[str, Any]:
        """A random design within the budget."""
        params: dict[str, Any] = {}
        for _ in range(TRIES):
            params = {name: self._value(kind) for name, kind in SPACE.items()}
            if self.budget.fits(params):
                return params
        return self.budget.shrink_to_fit(params) or smallest({})

    def _value(self, kind: BaseDistribution) -> Any:
        if isinstance(kind, CategoricalDistribution):
            return kind.choices[self.rng.integers(len(kind.choices))]
        assert isinstance(kind, IntDistribution | FloatDistribution)
        if kind.step:
            value = kind.low + kind.step * int(self.rng.integers(round((kind.high - kind.low) / kind.step) + 1))
            return value
        low, high = (np.log(bound) if kind.log else bound for bound in (kind.low, kind.high))
        value = float(self.rng.uniform(low, high))
        return float(np.exp(value)) if kind.log else value


def pareto_front(study: Study) -> list[FrozenTrial]:
    """The finished trials that no other beats in both top-1 and cost, the cheapest first."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return sorted(study.best_trials, key=lambda trial: trial.values[1])


def nearest_design(params: Mapping[str, Any], others: list[dict[str, Any]]) -> dict[str, Any]:
    """The one of the others that differs least, each value as a share of its range, another word for a whole one."""

    def distance(other: Mapping[str, Any]) -> float:
        words = sum(params[name] != other[name] for name in ("stem", "two_way"))
        spans = {name: SPACE[name].high - SPACE[name].low for name in size_names()}  # type: ignore[attr-defined]
        return words + sum(abs(params[name] - other[name]) / span for name, span in spans.items())

    return min(others, key=distance)


def smallest_extension(params: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest design that is nowhere below `params` and extends `parent`, with the rate and decay of `params`."""
    words = {name: parent[name] for name in ("stem", "two_way")}
    return {**params, **words, **{name: max(params[name], parent[name]) for name in size_names()}}
