"""Plot of training runs: validation score and training loss over steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pelee.plotting import FAINT, INK, save, short
from pelee.runs.run import SCORES, TrainingRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

FEW_POINTS = 40  # a curve with fewer scores marks each of them


def plot_runs(runs: Sequence[TrainingRun], names: Sequence[str], path: Path | str) -> None:
    """Draw the score and the loss of each run over its steps, one row of panels for each task.

    Args:
        names: one for each run, for the legend.
        path: its suffix (.png, .svg, .pdf) chooses the format.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    palette = [*colormaps["tab10"].colors, *colormaps["tab20b"].colors]  # type: ignore[attr-defined, unused-ignore]
    by_task: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        by_task.setdefault(run.task, []).append(index)
    legend = 0.2 * -(-len(runs) // 3) + 0.1
    height = 3.2 * len(by_task) + legend
    figure = Figure(figsize=(10, height))
    panels = figure.subplots(len(by_task), 2, squeeze=False)
    figure.subplots_adjust(
        left=0.07, right=0.98, top=1 - 0.35 / height, bottom=(legend + 0.4) / height, wspace=0.16, hspace=0.35
    )
    lines: dict[int, Line2D] = {}
    for (task, indices), (score_panel, loss_panel) in zip(by_task.items(), panels, strict=True):
        colors = {index: palette[index % len(palette)] for index in indices}
        lines |= {index: _draw_scores(score_panel, runs[index], color) for index, color in colors.items()}
        highest = max(_draw_losses(loss_panel, runs[index], color) for index, color in colors.items())
        if highest:
            loss_panel.set_ylim(top=1.05 * highest)  # the first steps' losses would flatten the rest
        if not any(runs[index].scores for index in indices):
            score_panel.text(
                0.5, 0.5, "no validation yet", fontsize=9, color=FAINT, ha="center", transform=score_panel.transAxes
            )
        _style(score_panel, f"{SCORES[task][1]}, %")
        _style(loss_panel, "training loss")
    labels = [short(names[index], 40).replace("$", r"\$") for index in sorted(lines)]
    figure.legend(
        [lines[index] for index in sorted(lines)], labels, loc="lower center", ncols=3, fontsize=8, frameon=False
    )
    save(figure, path)


def _draw_scores(panel: Axes, run: TrainingRun, color: str) -> Line2D:
    """Draw a run's validation scores in percent, the best one as a ring; returns the line."""
    marker = "." if len(run.scores) < FEW_POINTS else None
    percents = [100 * value for _, value in run.scores]
    (line,) = panel.plot([step for step, _ in run.scores], percents, color=color, marker=marker, lw=1.4)
    if run.best is not None and run.best_step is not None:
        panel.plot(run.best_step, 100 * run.best, "o", color=color, ms=6, mfc="white", mew=1.4)
    return line


def _draw_losses(panel: Axes, run: TrainingRun, color: str) -> float:
    """Draw a run's loss: faint as logged, strong as the moving average; returns the average's maximum."""
    steps = [step for step, _ in run.losses]
    values = [value for _, value in run.losses]
    panel.plot(steps, values, color=color, lw=0.7, alpha=0.25)
    averages = moving_average(values)
    panel.plot(steps, averages, color=color, marker="." if len(averages) < 5 else None, lw=1.4)
    return max(averages, default=0.0)


def _style(panel: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(title, loc="left", fontsize=9, color=INK)
    panel.set_xlabel("steps", fontsize=8, color=INK)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.tick_params(labelsize=8, length=2, color=FAINT, labelcolor=INK)
    panel.grid(color="#e6e6e6", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(FAINT)


def moving_average(values: Sequence[float]) -> list[float]:
    """Mean of each value and its neighbors, a twentieth of the series on either side; as many values as given."""
    reach = len(values) // 20
    return [statistics.fmean(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))]
