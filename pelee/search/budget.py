"""Budget of a search: the cost of a design in multiply-adds or milliseconds, compared with a limit."""

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from data.errors import SettingsError
from pelee.models.complexity import count
from pelee.models.layers import fuse_conv_bn
from pelee.models.registry import build
from pelee.search.space import MODEL, SPACE, nearest_value, size_names, to_model_settings

Unit = Literal["multiply-adds", "ms"]
WARM_UP, CALLS = 3, 15
HALVINGS = 5


def format_cost(cost: float, unit: str) -> str:
    """A cost with its unit, rounded."""
    return f"{cost:.2f} ms" if unit == "ms" else f"{cost / 1e6:,.1f} M multiply-adds"


@dataclass
class Budget:
    """Limit of a design's cost; each design is measured once.

    Attributes:
        unit, limit: the maximum cost of one image.
        classes, input_size: of the networks.
        given: model settings that all networks share, besides their design.
    """

    unit: Unit
    limit: float
    classes: int
    input_size: int
    given: Mapping[str, Any] = field(default_factory=dict)
    _costs: dict[str, float] = field(default_factory=dict)

    def cost(self, params: Mapping[str, Any]) -> float:
        """The cost of the design with these parameters of `SPACE`."""
        settings = {**self.given, **to_model_settings(params)}
        key = json.dumps(settings, sort_keys=True)
        if key not in self._costs:
            self._costs[key] = self._milliseconds(settings) if self.unit == "ms" else self.count(params)[1]
        return self._costs[key]

    def fits(self, params: Mapping[str, Any]) -> bool:
        """Whether a design's cost is within the limit."""
        return self.cost(params) <= self.limit

    def count(self, params: Mapping[str, Any]) -> tuple[int, int]:
        """Parameters and multiply-adds of a design."""
        counted = count(build(MODEL, self.classes, {**self.given, **to_model_settings(params)}), self.input_size)
        return counted.parameters, counted.multiply_adds

    def _milliseconds(self, settings: Mapping[str, Any]) -> float:
        """Latency of one image on the CPU with merged batch norms, in ms: the median of `CALLS` calls."""
        network = fuse_conv_bn(build(MODEL, self.classes, settings))
        image = torch.zeros(1, 3, self.input_size, self.input_size)
        spent = []
        with torch.inference_mode():
            for call in range(WARM_UP + CALLS):
                started = time.perf_counter()
                network(image)
                if call >= WARM_UP:
                    spent.append(time.perf_counter() - started)
        return 1000 * statistics.median(spent)

    def shrink_to_fit(self, params: Mapping[str, Any], floor: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """A design within the limit between `floor` and `params`.

        A bisection on the straight line between them finds a design that fits; then each size is increased as far as
        the limit allows, one after the other. Categorical parameters, learning rate and weight decay stay.

        Args:
            floor: a design that is nowhere larger than `params`; None for the smallest of the space.

        Returns:
            None where the floor itself exceeds the limit.
        """
        if self.fits(params):
            return dict(params)
        low = floor or smallest({})
        best, share, step = None, 0.0, 0.5
        for _ in range(HALVINGS):
            between = {
                name: nearest_value(name, low[name] + share * (params[name] - low[name])) for name in size_names()
            }
            tried = {**params, **between}
            if self.fits(tried):
                best, share = tried, share + step
            elif not share:
                return None
            else:
                share -= step
            step /= 2
        assert best is not None
        for name in size_names():
            for value in (params[name], nearest_value(name, best[name] + SPACE[name].step)):  # type: ignore[attr-defined]
                if best[name] < value <= params[name] and self.fits(best | {name: value}):
                    best |= {name: value}
                    break
        return best

    def check(self) -> None:
        """Raise SettingsError where every design of the space exceeds the limit."""
        candidates = [
            smallest({"stem": stem, "two_way": ways}) for stem in ("two-branch", "plain") for ways in (True, False)
        ]
        least = min(self.cost(params) for params in candidates)
        if least > self.limit:
            raise SettingsError(
                f"the budget of {format_cost(self.limit, self.unit)} is below the smallest design of the search, which "
                f"takes {format_cost(least, self.unit)} at {self.input_size} pixels; allow more, or take a smaller "
                "--input-size"
            )


def smallest(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest design of the space with these categorical choices, and the first of every other."""
    lowest = {name: kind.low for name, kind in SPACE.items() if hasattr(kind, "low")}
    first = {name: kind.choices[0] for name, kind in SPACE.items() if hasattr(kind, "choices")}
    return {**lowest, **first, **choices}
