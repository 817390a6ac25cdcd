"""Text report of a classifier's evaluation."""

from __future__ import annotations

import io

from pelee.classification.evaluation.evaluate import ClassifierEvaluation, most_frequent


def report(evaluation: ClassifierEvaluation, worst: int = 10) -> str:
    """The evaluation as plain text of at most 100 columns: accuracies and the `worst` classes, in percent."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names, counts = evaluation.class_names, evaluation.counts
    top1, top5 = evaluation.top_k_by_class(1), evaluation.top_k_by_class(5)
    confusion, has_top5 = evaluation.confusion, len(names) > 5
    shown = evaluation.worst_classes(worst)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class" if len(shown) == len(names) else f"the worst {len(shown)} classes", overflow="fold")
    for name in ("images", "top-1", *(("top-5",) if has_top5 else ())):
        table.add_column(name, justify="right")
    table.add_column("most often taken for", overflow="fold")
    for label in shown:
        others = ", ".join(f"{names[other]} {times}" for other, times in most_frequent(confusion[label], label, 3))
        numbers = [_percent(top1[label]), *([_percent(top5[label])] if has_top5 else [])]
        table.add_row(Text(names[label]), str(counts[label]), *numbers, Text(others))
    both = f"top-1 {100 * evaluation.top1:.2f}" + (f", top-5 {100 * evaluation.top5:.2f}" if has_top5 else "")
    lines = [
        f"{evaluation.dataset} {evaluation.split}: {both}, calibration error {100 * evaluation.calibration_error:.1f}",
        f"{len(evaluation.labels)} images of {len(names)} classes in {evaluation.seconds:.1f} s",
    ]
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if absent:
        lines.append(f"{len(absent)} classes without an image: {', '.join(absent[:5])}{', ...' * (len(absent) > 5)}")
    console = Console(file=io.StringIO(), width=100, color_system=None, highlight=False)
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    if shown:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
