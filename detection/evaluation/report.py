"""Text report of a detector's evaluation."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable

from detection.evaluation.evaluate import Evaluation
from detection.evaluation.tide import ERROR_KINDS, KIND_TITLES


def report(evaluation: Evaluation) -> str:
    """Text report with tables, at most 100 columns wide; APs in percent."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    voc, coco = evaluation.voc, evaluation.coco
    classes = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
    classes.add_column("class", footer="mean", overflow="fold")
    columns = {
        "objects": ([str(count) for count in voc.num_gt], str(voc.num_gt.sum())),
        "AP 11-point": (_percents(voc.ap_11point), _percent(voc.map_11point)),
        "AP all-point": (_percents(voc.ap_allpoint), _percent(voc.map_allpoint)),
        "AP50:95": (_percents(coco.ap), _percent(coco.numbers["AP"])),
    }
    for name, (_, footer) in columns.items():
        classes.add_column(name, footer=footer, justify="right")
    for label, name in enumerate(voc.class_names):
        classes.add_row(Text(name), *(values[label] for values, _ in columns.values()))

    numbers = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in coco.numbers:
        numbers.add_column(name, justify="right")
    numbers.add_row(*_percents(coco.numbers.values()))

    errors = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    errors.add_column("")
    for kind in ERROR_KINDS:
        errors.add_column(KIND_TITLES[kind], justify="right")
    errors.add_row("number", *(f"{count:,}" for count in evaluation.errors.counts.sum(axis=1).tolist()))
    errors.add_row("mAP without them", *(_gain(gain) for gain in evaluation.errors.map_gains.tolist()))

    each = max(evaluation.seconds_detecting, 1e-9) / evaluation.images
    lines = [
        f"VOC at IoU {voc.iou:g}: mAP {_percent(voc.map_11point)} (11-point), {_percent(voc.map_allpoint)} (all-point)",
        f"{evaluation.images} images in {evaluation.seconds:.1f} s, detection alone {1000 * each:.1f} ms "
        f"an image, {1 / each:.1f} images/s",
    ]
    found = [f"{size.size} {_share(size.found, size.objects)} of {size.objects:,}" for size in evaluation.errors.sizes]
    lines.insert(1, f"recall by size from confidence {evaluation.confidence:g} on: {', '.join(found)}")
    best = evaluation.best_f1
    lines.insert(1, f"best F1 {best.f1:.2f} (mean over classes) at confidence {best.confidence:.2f}")
    if voc.absent:
        lines.append(f"without an object, left out of the means: {', '.join(voc.absent)}")
    console = Console(file=io.StringIO(), width=100, color_system=None, highlight=False)
    console.print(Text(f"{evaluation.dataset} {evaluation.split}"), classes, Text("COCO, per cent"), numbers, sep="\n")
    console.print(Text(f"errors from confidence {evaluation.confidence:g} on"), errors, sep="\n")
    console.print(Text("\n".join(lines)), soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _gain(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.1f}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _percents(values: Iterable[float]) -> list[str]:
    return [_percent(float(value)) for value in values]
