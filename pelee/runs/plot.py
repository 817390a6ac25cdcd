"""Plots of training runs."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from pelee.runs.run import SCORES, TrainingRun


def plot_runs(runs: Sequence[TrainingRun], names: Sequence[str], path: Path | str) -> None:
    """Draw each run's score and loss over its steps, a row of panels for each task; the suffix of `path` chooses the
    format.

    A loss is drawn faintly as it was logged, and strongly as the mean of what lies around each point.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from pelee.plotting import FAINT, INK, save, short

    palette = [*colormaps["tab10"].colors, *colormaps["tab20b"].colors]  # type: ignore[attr-defined, unused-ignore]
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(run.task, []).append(place)
    legend = 0.2 * -(-len(runs) // 3) + 0.1
    height = 3.2 * len(groups) + legend
    figure = Figure(figsize=(10, height))
    panels = figure.subplots(len(groups), 2, squeeze=False)
    figure.subplots_adjust(
        left=0.07, right=0.98, top=1 - 0.35 / height, bottom=(legend + 0.4) / height, wspace=0.16, hspace=0.35
    )
    lines = {}
    for (task, places), (score, loss) in zip(groups.items(), panels, strict=True):
        highest = 0.0
        for place in places:
            run, colour = runs[place], palette[place % len(palette)]
            marker = "." if len(run.scores) < 40 else None
            percents = [100 * value for _, value in run.scores]
            (lines[place],) = score.plot(
                [step for step, _ in run.scores], percents, color=colour, marker=marker, lw=1.4
            )
            if run.best is not None:
                score.plot(run.best_step, 100 * run.best, "o", color=colour, ms=6, mfc="white", mew=1.4)
            steps = [step for step, _ in run.losses]
            values = [value for _, value in run.losses]
            loss.plot(steps, values, color=colour, lw=0.7, alpha=0.25)
            even = smoothed(values)
            loss.plot(steps, even, color=colour, marker="." if len(even) < 5 else None, lw=1.4)
            highest = max([highest, *even])
        if highest:
            loss.set_ylim(top=1.05 * highest)  # the first steps' losses would flatten the rest
        if not any(runs[place].scores for place in places):
            score.text(0.5, 0.5, "no validation yet", fontsize=9, color=FAINT, ha="center", transform=score.transAxes)
        score.set_title(f"{SCORES[task][1]}, %", loc="left", fontsize=9, color=INK)
        loss.set_title("training loss", loc="left", fontsize=9, color=INK)
        for panel in (score, loss):
            panel.set_xlabel("steps", fontsize=8, color=INK)
            panel.set_xlim(left=0)
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            panel.tick_params(labelsize=8, length=2, color=FAINT, labelcolor=INK)
            panel.grid(color="#e6e6e6", linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
            panel.spines[["left", "bottom"]].set_color(FAINT)
    labels = [short(names[place], 40).replace("$", r"\$") for place in sorted(lines)]
    figure.legend(
        [lines[place] for place in sorted(lines)], labels, loc="lower center", ncols=3, fontsize=8, frameon=False
    )
    save(figure, path)


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and its neighbours, a twentieth of all on either side."""
    reach = len(values) // 20
    return [statistics.fmean(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))]
