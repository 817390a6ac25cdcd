"""Sampler of designs: random trials first, then a Gaussian process, always within the budget."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import GPSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pelee.search.budget import Budget, smallest
from pelee.search.space import SPACE, size_names

TRIES = 100  # random draws before one is shrunk to fit


class DesignSampler(GPSampler):
    """Optuna's Gaussian-process sampler, restricted to a budget that is known before training.

    A design over the budget is never proposed: a random one is drawn again; a proposal of the process, which would
    repeat it, is shrunk towards the smallest design until it fits. The process learns the budget as well, from the
    constraint of every trial.

    Args:
        budget: the limit of a design's cost.
        seed: of the random designs and the process.
        random: number of random trials before the process starts.
        morph: every second proposal of the process extends a finished trial, the nearest one on the Pareto front.
    """

    def __init__(self, budget: Budget, *, seed: int, random: int, morph: bool) -> None:
        super().__init__(seed=seed, n_startup_trials=random)
        self.budget, self.morph = budget, morph
        self.rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space, from the first trial on, so that `sample_relative` chooses every value."""
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
            # never None: the parent was trained, hence is within the budget
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
    """The finished trials that no other dominates in top-1 and cost, by ascending cost."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return sorted(study.best_trials, key=lambda trial: trial.values[1])


def nearest_design(params: Mapping[str, Any], designs: list[dict[str, Any]]) -> dict[str, Any]:
    """The nearest of the designs: distances are shares of each size's range, and 1 for each categorical difference."""

    def distance(other: Mapping[str, Any]) -> float:
        categorical = sum(params[name] != other[name] for name in ("stem", "two_way"))
        spans = {name: SPACE[name].high - SPACE[name].low for name in size_names()}  # type: ignore[attr-defined]
        return categorical + sum(abs(params[name] - other[name]) / span for name, span in spans.items())

    return min(designs, key=distance)


def smallest_extension(params: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest design that extends `parent` and is nowhere below `params`; rate and decay are those of `params`."""
    categorical = {name: parent[name] for name in ("stem", "two_way")}
    return {**params, **categorical, **{name: max(params[name], parent[name]) for name in size_names()}}
