"""Verification of an export against its source: data, limits, and the common course of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from data.errors import WeightsError
from data.images.image_slice import ImageFile

DatasetType = TypeVar("DatasetType")
Report = dict[str, Any]


@dataclass(frozen=True)
class ExportCheck(Generic[DatasetType]):
    """Data of a verification: images to compare results on, and a split of a dataset to measure accuracy on, if any."""

    images: Sequence[ImageFile]
    dataset: DatasetType | None = None


class Limit(NamedTuple):
    """Limit of a value of the report.

    Attributes:
        key: name of the value.
        text: description of the value in the error, before its number.
        bound: "least" or "most" that is allowed.
        limit: the limit, itself allowed.
        digits: decimals of the value in the error.
    """

    key: str
    text: str
    bound: Literal["least", "most"]
    limit: float
    digits: int = 3

    def problem(self, report: Report) -> str | None:
        """Describe a value outside the limit; None if it is within. NaN is outside."""
        value = report[self.key]
        if (value >= self.limit) if self.bound == "least" else (value <= self.limit):
            return None
        return f"{self.text.format(f'{value:.{self.digits}f}')}, expected at {self.bound} {self.limit}"


def verify_export(
    kind: str,
    report: Report,
    limits: Sequence[Limit],
    measure: Callable[[], Report] | None,
    accuracy_limit: Limit,
) -> Report:
    """Check a comparison against its limits, then measure accuracy, which takes longest, and check that.

    Args:
        kind: "detector" or "classifier", for the error.
        report: runtimes and values of the comparison.
        limits: those of the comparison.
        measure: returns the accuracy of both; None without a dataset.
        accuracy_limit: that of the measurement.

    Returns:
        The report with the values of the measurement.

    Raises:
        WeightsError: a value outside its limit.
    """
    problems = [problem for limit in limits if (problem := limit.problem(report))]
    if not problems and measure is not None:
        report = report | measure()
        problems = [problem] if (problem := accuracy_limit.problem(report)) else []
    if problems:
        raise WeightsError(f"the export is not the same {kind} as its source: {'; '.join(problems)}; nothing written")
    return report


def rounded(value: Any) -> float:
    """Round a value of a report to 5 digits."""
    return round(float(value), 5)
