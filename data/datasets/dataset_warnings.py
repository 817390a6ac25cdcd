"""Warnings of a dataset: lines "KIND: DETAILS", and their summary by kind with number and first example."""

from collections import defaultdict
from collections.abc import Iterable


def warnings_by_kind(warnings: Iterable[str]) -> dict[str, list[str]]:
    """Group warnings by kind, in the order of the first one of each -> kind: details."""
    groups: dict[str, list[str]] = defaultdict(list)
    for line in warnings:
        kind, _, details = line.partition(": ")
        groups[kind].append(details)
    return dict(groups)


def summarize_warnings(warnings: Iterable[str]) -> list[str]:
    """Return a line for each kind of warning: the only one unchanged, else the number and the first example."""
    lines = []
    for kind, details in warnings_by_kind(warnings).items():
        if len(details) == 1:
            lines.append(f"{kind}: {details[0]}" if details[0] else kind)
        else:
            lines.append(f"{kind}: {len(details):,}, the first is {details[0]}")
    return lines
