"""Measured figures with their bounds."""

from collections.abc import Iterable
from typing import NamedTuple


class Figure(NamedTuple):
    """Measured figure and its bound.

    Attributes:
        name: what it is, with its unit.
        value: as measured.
        bound: the most that it may be, or the least where `at_least`.
        at_least: which of the two.
    """

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def held(self) -> bool:
        """Whether it is within its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def report(figures: Iterable[Figure]) -> bool:
    """Print a line for each, and return whether all are within their bounds."""
    shown = list(figures)
    for figure in shown:
        sign = ">=" if figure.at_least else "<="
        verdict = "pass" if figure.held else "FAIL"
        print(f"{verdict}  {figure.name}: {figure.value:.4g} ({sign} {figure.bound:g})")
    return all(figure.held for figure in shown)
