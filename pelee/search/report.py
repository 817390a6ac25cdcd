"""Results of a search: a table, `search.json`, `best.yaml` and the Pareto plot."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from data.atomic_files import atomic_path
from pelee.plotting import BLUE, FAINT, INK, save
from pelee.runs.run import open_run
from pelee.search.sampler import pareto_front
from pelee.search.space import MODEL, to_settings
from pelee.search.study import ArchitectureSearch, SearchPlan, write_recipe
from pelee.training.recipes import to_plain

RED = "#c8402f"


def write_report(search: ArchitectureSearch) -> dict[str, Any]:
    """Write search.json, best.yaml and pareto.png into the search's folder; returns the content of search.json.

    best.yaml is the recipe of the trial with the highest top-1, among equals the one of least cost.
    """
    plan, trials = search.plan, search.finished()
    front = pareto_front(search.study)
    best = max(trials, key=lambda trial: (trial.values[0], -trial.values[1]), default=None)
    found = {
        "dataset": plan.dataset,
        "budget": {"unit": plan.budget.unit, "limit": plan.budget.limit, "input_size": plan.budget.input_size},
        "best": best.number if best else None,
        "front": [trial.number for trial in front],
        "trials": [_row(plan, trial) for trial in trials],
    }
    with atomic_path(plan.output / "search.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if best:
        words = ["pelee-train-classifier", "--model", MODEL, "--dataset", plan.dataset, "--root", str(plan.root)]
        line = f"# trial {best.number}, top-1 {best.values[0]:.2f}; train it longer by --epochs:\n"
        line += f"# {shlex.join([*words, '--recipe', str(plan.output / 'best.yaml')])}\n"
        write_recipe(plan.output / "best.yaml", to_settings(best.params, plan.settings), line)
        plot_front(plan, trials, front, plan.output / "pareto.png")
    return found


def _row(plan: SearchPlan, trial: FrozenTrial) -> dict[str, Any]:
    settings, attributes = to_settings(trial.params, plan.settings), trial.user_attrs
    seconds = open_run(plan.folder(trial.number)).seconds
    return {
        "number": trial.number,
        "top1": trial.values[0],
        "multiply_adds": attributes["multiply_adds"],
        "ms": round(trial.values[1], 3) if plan.budget.unit == "ms" else None,
        "parameters": attributes["parameters"],
        "grown_from": attributes["start"] if attributes["start"] >= 0 else None,
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        "model_settings": to_plain(settings)["model_settings"],
        "seconds": seconds,
        "folder": str(plan.folder(trial.number)),
    }


def print_table(found: dict[str, Any]) -> None:
    """Print the trials by descending top-1; a star marks those on the Pareto front."""
    from rich.console import Console
    from rich.table import Table

    table = Table("trial", "design", box=None, pad_edge=False, header_style="bold")
    for title in ("top-1", "multiply-adds", "ms", "parameters", "lr", "decay", "from"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in sorted(found["trials"], key=lambda row: -row["top1"]):
        table.add_row(
            f"{row['number']}{' *' if row['number'] in found['front'] else ''}",
            design(row["model_settings"]),
            f"{row['top1']:.2f}",
            f"{row['multiply_adds'] / 1e6:,.1f} M",
            "" if row["ms"] is None else f"{row['ms']:.2f}",
            f"{row['parameters']:,}",
            f"{row['lr']:.3g}",
            f"{row['weight_decay']:.2g}",
            "" if row["grown_from"] is None else str(row["grown_from"]),
        )
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    console.print(
        "*: on the Pareto front, no other trial is better and cheaper; from: the trial whose weights it started from"
    )


def design(settings: dict[str, Any]) -> str:
    """A PeleeNet's design in one line: stem and its channels, layers × growth, bottlenecks, channels of transitions."""

    def dashed(numbers: Sequence[int]) -> str:
        return "-".join(map(str, numbers))

    stem = "no stem" if settings["stem"] == "none" else f"{settings['stem']} {settings['stem_channels']}"
    ways = "two ways" if settings["two_way"] else "one way"
    layers = f"{dashed(settings['blocks'])} × {settings['growth_rate']}"
    return f"{stem}, {layers}, {ways}, {dashed(settings['bottleneck_widths'])}, to {dashed(settings['transitions'])}"


def plot_front(plan: SearchPlan, trials: Sequence[FrozenTrial], front: Sequence[FrozenTrial], path: Path | str) -> None:
    """Draw top-1 over cost: all trials, the Pareto front, and the budget."""
    from matplotlib.figure import Figure

    scale, label = (1.0, "ms per image") if plan.budget.unit == "ms" else (1e6, "million multiply-adds")
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    for grown, marker, name in ((False, "o", "trained from the start"), (True, "^", "grown from another trial")):
        some = [trial for trial in trials if (trial.user_attrs["start"] >= 0) is grown]
        if some:
            places = [trial.values[1] / scale for trial in some], [trial.values[0] for trial in some]
            axes.plot(*places, marker, color=FAINT, ms=5, mew=0, label=name, zorder=2)
    costs, scores = [trial.values[1] / scale for trial in front], [trial.values[0] for trial in front]
    axes.plot(costs, scores, color=BLUE, lw=1.4, drawstyle="steps-post", label="Pareto front", zorder=3)
    for trial, cost, score in zip(front, costs, scores, strict=True):
        axes.plot(cost, score, "^" if trial.user_attrs["start"] >= 0 else "o", color=BLUE, ms=6, zorder=4)
        axes.annotate(
            str(trial.number), (cost, score), (-5, 5), textcoords="offset points", fontsize=8, color=INK, ha="right"
        )
    axes.axvline(plan.budget.limit / scale, color=RED, lw=1, ls="--", label="budget")
    axes.set_xlabel(f"{label}, at {plan.budget.input_size} pixels", fontsize=9, color=INK)
    axes.set_ylabel("top-1, %", fontsize=9, color=INK)
    axes.margins(x=0.08, y=0.12)
    axes.set_xlim(left=0)
    axes.tick_params(labelsize=8, length=2, color=FAINT, labelcolor=INK)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    save(figure, path)
