"""Plots of an evaluation: precision-recall curves, confusion matrix, and errors by kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detection.evaluation.tide import ERROR_KINDS, KIND_TITLES
from pelee.plotting import BLUE, FAINT, INK, plot_matrix, save, short

if TYPE_CHECKING:
    from detection.evaluation.tide import DetectionErrors
    from detection.evaluation.voc_ap import VocResult


def plot_precision_recall(result: VocResult, path: Path | str) -> None:
    """Write the precision-recall curve and 11-point AP (percent) of each class, best first, in a panel each.

    Separate panels stay readable with eighty classes. Classes without ground truths come last, with empty panels. The
    suffix of `path` (.png, .svg, .pdf) selects the format.
    """
    from matplotlib.figure import Figure

    aps = np.nan_to_num(result.ap_11point, nan=-1.0)
    order = np.argsort(-aps, kind="stable")
    columns = min(10, max(1, round(math.sqrt(len(order) * 1.25))))
    rows = max(1, math.ceil(len(order) / columns))
    side = 1.7 if columns > 1 else 2.6
    width, height = side * columns + 0.8, side * rows + 1.2
    figure = Figure(figsize=(width, height))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    # in inches; the automatic layout of matplotlib takes seconds for eighty panels
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.2 / width, bottom=0.55 / height, top=1 - 0.65 / height, wspace=0.16, hspace=0.28
    )
    for panel, label in zip(panels.flat, order, strict=False):
        recall, precision = _outline(*result.curves[label][:2])
        panel.fill_between(recall, precision, step="pre", color=BLUE, alpha=0.15, linewidth=0)
        panel.plot(recall, precision, color=BLUE, linewidth=1.2, drawstyle="steps-pre")
        name, absent = short(result.class_names[label], limit=15), result.num_gt[label] == 0
        panel.set_title(name, loc="left", fontsize=8, color=FAINT if absent else INK, pad=3, parse_math=False)
        if absent:
            panel.text(0.5, 0.5, "no object", fontsize=8, color=FAINT, ha="center", transform=panel.transAxes)
        else:
            panel.set_title(f"{100 * result.ap_11point[label]:.1f}", loc="right", fontsize=8, color=BLUE, pad=3)
    for number, panel in enumerate(panels.flat):
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_xticklabels(("0", "½", "1"))
        panel.set_yticklabels(("0", "½", "1"))
        lowest = number + columns >= len(order)  # in its column; matplotlib would label the last row only, full or not
        panel.tick_params(labelsize=7, length=2, color=FAINT, labelcolor=INK, labelbottom=lowest)
        panel.grid(color="#e6e6e6", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(FAINT)
        panel.set_visible(number < len(order))
    means = f"mAP {100 * result.map_11point:.1f} (11-point), {100 * result.map_allpoint:.1f} (all-point)"
    # a title must fit the narrowest grid, a single panel
    title = ("\n" if columns < 2 else "    ").join((f"IoU {result.iou:g}", means))
    figure.suptitle(title, x=0.5, y=1 - 0.12 / height, fontsize=9, color=INK)
    figure.supxlabel("recall", y=0.12 / height, fontsize=9, color=INK)
    figure.supylabel("precision", x=0.12 / width, fontsize=9, color=INK)
    save(figure, path)


def plot_confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], path: Path | str) -> None:
    """Write the (C + 1, C + 1) counts of `confusion_matrix.confusion_matrix`, each row normalized by its ground truths.

    The last row has no ground truths: it shows the distribution of false positives over classes. Values below 1 %
    (below 10 % for more than 30 classes) have no number. The suffix of `path` selects the format.

    Raises:
        ValueError: the shape of the matrix is not (C + 1, C + 1).
    """
    names = [*class_names, "background"]
    plot_matrix(
        matrix,
        names,
        path,
        rows="object (background: false alarm)",
        columns="detected as (background: missed)",
        apart=1,
    )


def plot_errors(errors: DetectionErrors, path: Path | str) -> None:
    """Write two bar charts over the error kinds: mAP gained without each kind, and number of errors.

    The suffix of `path` selects the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.6), layout="constrained")
    gains, counts = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(ERROR_KINDS))
    worth = 100 * np.nan_to_num(errors.map_gains)
    number = errors.counts.sum(axis=1)
    for panel, values, texts, title in (
        (gains, worth, [f"{value:.1f}" for value in worth], "points of mAP (all-point) gained without them"),
        (counts, number, [f"{value:,}" for value in number], f"errors from confidence {errors.confidence:g} on"),
    ):
        bars = panel.barh(places, values, color=BLUE, height=0.65)
        panel.bar_label(bars, texts, fontsize=7, color=INK, padding=3)
        panel.set_title(title, fontsize=8, color=INK, loc="left")
        panel.margins(x=0.15)
        panel.tick_params(labelsize=7, length=2, color=FAINT, labelcolor=INK)
        panel.tick_params(axis="y", length=0, labelsize=8)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.spines["bottom"].set_color(FAINT)
    gains.set_yticks(places, [KIND_TITLES[kind] for kind in ERROR_KINDS])
    gains.set_ylim(len(ERROR_KINDS) - 0.5, -0.5)
    save(figure, path)


def _outline(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a curve at which recall grows, from recall 0: at most one per ground truth.

    Limits the file size, which would be many megabytes for a hundred thousand predictions.
    """
    grows = np.diff(recall, prepend=0.0) > 0
    recall, precision = recall[grows], precision[grows]
    return np.concatenate([[0.0], recall]), np.concatenate([precision[:1] if len(precision) else [0.0], precision])
