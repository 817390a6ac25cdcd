"""Reports of a dataset check: tables, lists, JSON."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from data.inspection.findings import FINDING_KINDS, NOTES, Finding, SplitReport


def summary(report: SplitReport, *, width: int = 32) -> str:
    """Return a split's statistics as text: counts, sizes, a bar per class (the longest has `width` characters)."""
    mean = report.objects / report.images if report.images else 0.0
    lines = [
        f"{report.dataset} {report.split}: {report.images:,} images, {report.objects:,} objects "
        f"({report.difficult:,} difficult, {report.crowd:,} crowd)",
        f"  {mean:.2f} objects an image, {report.most_objects} at most; "
        f"{report.without_objects:,} images without objects",
        "  sizes: " + ", ".join(f"{share:.1%} {name}" for name, share in report.sizes.items()) + " (COCO: 32², 96² px)",
    ]
    column = max((len(name) for name in report.classes), default=0)
    most = max(report.classes.values(), default=0)
    for name, count in report.classes.items():
        bar = "#" * max(round(width * count / most), 1) if count else ""
        lines.append(f"  {name:<{column}} {count:>9,} {bar}".rstrip())
    return "\n".join(lines)


def listing(findings: Iterable[Finding], *, shown: int = 5) -> str:
    """Return the findings as text by kind: a line with the count, then the first `shown` findings.

    Annotations that had to be corrected are listed by the kind of their warning.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in findings:
        title, text = FINDING_KINDS[finding.kind], finding.text
        if finding.kind == "annotation" and ": " in text:
            part, _, text = text.partition(": ")
            title = f"{title}: {part}"
        groups[finding.kind, title].append(text)
    out = []
    order = list(FINDING_KINDS)
    for (kind, title), lines in sorted(groups.items(), key=lambda group: order.index(group[0][0])):
        out.append(f"  {'note' if kind in NOTES else 'FAULT'}: {len(lines):,} {title}")
        out += [f"    {text}" for text in lines[:shown]]
        if len(lines) > shown:
            out.append(f"    ... and {len(lines) - shown:,} more")
    return "\n".join(out)


def as_json(reports: Sequence[SplitReport], between: Sequence[Finding]) -> dict[str, Any]:
    """Return the reports and findings as plain values: `splits`, `between` and the number of `faults`."""
    findings = [*between, *(finding for report in reports for finding in report.findings)]
    return {
        "splits": [_plain(report) for report in reports],
        "between": [asdict(finding) for finding in between],
        "faults": count_faults(findings),
    }


def _plain(report: SplitReport) -> dict[str, Any]:
    """Return a report's values by their names in JSON, where the number of images is called "pictures"."""
    return {"pictures" if name == "images" else name: value for name, value in asdict(report).items()}


def count_faults(findings: Iterable[Finding]) -> int:
    """Count the findings that are not of `NOTES`."""
    return sum(finding.kind not in NOTES for finding in findings)
