"""Class lists of several splits, compared by name; classes that some splits have no object of."""

from collections.abc import Sequence
from dataclasses import replace

from data.datasets.class_names import match_classes
from data.datasets.records import Dataset
from data.inspection.findings import Finding, SplitReport


def compare_class_lists(datasets: Sequence[Dataset]) -> list[Finding]:
    """Compare each split's class list with that of the first, which is the one to train on.

    Returns:
        A fault "class-list" for names that the first split lacks, as their objects are lost; a note "class-order" for
        every other difference.
    """
    findings = []
    for dataset in datasets[1:]:
        if dataset.class_names == datasets[0].class_names:
            continue
        match = match_classes(dataset.class_names, datasets[0].class_names)
        for name in match.added:
            near = dict(match.differing_case).get(name)
            question = f"; is it {near!r}? If so, write both alike" if near else ""
            text = f"class {name!r} of {dataset.split} is not in {datasets[0].split}{question}"
            findings.append(Finding("class-list", name, text))
        if not match.added:
            text = "; ".join(match.lines(dataset.split, datasets[0].split))
            findings.append(Finding("class-order", dataset.split, text))
    return findings


def excuse_absent_classes(reports: Sequence[SplitReport]) -> list[SplitReport]:
    """Turn the fault "class" of a split after the first into the note "absent" where the first has such objects."""
    return [
        replace(report, findings=[_excused(finding, reports[0]) if number else finding for finding in report.findings])
        for number, report in enumerate(reports)
    ]


def _excused(finding: Finding, first: SplitReport) -> Finding:
    if finding.kind == "class" and first.classes.get(finding.where):
        return replace(finding, kind="absent")
    return finding
