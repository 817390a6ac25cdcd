"""Table of an ablation study: accuracy, cost and command of each run."""

import json
import shlex
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.atomic_files import atomic_path
from detection.ablation.experiment import Run
from detection.detector import Detector
from detection.models.loading import to_config
from detection.models.registry import build
from pelee.models.complexity import count
from weights.card import Card
from weights.store import ModelFile, resolve

ROUNDS, CALLS = 5, 10
COLUMNS = ("variant", "settings", "mAP", "Δ", "parameters", "multiply-adds", "ms per image", "trained, images/s")


def write_table(runs: Sequence[Run], folder: Path, times: bool) -> str:
    """Write compare.md and compare.json of finished runs, the first being the base; returns the Markdown.

    Args:
        times: measure the latency of each network on PyTorch, batch 1, in interleaved rounds, so that other load
            affects all networks equally. Networks of one design are timed once.
    """
    models = [resolve(one.model) for one in runs]
    milliseconds = time_designs(models) if times else [None] * len(models)
    base = best(models[0].card)["value"]
    rows: list[dict[str, Any]] = []
    for one, model, each in zip(runs, models, milliseconds, strict=True):
        config, score = to_config(model), best(model.card)
        size = count(build(config), config.input_size)
        rows.append(
            {
                "variant": one.name,
                "changed": dict(one.changed),
                "map": score["value"],
                "delta": round(score["value"] - base, 2),
                "split": score["split"],
                "pictures": score["pictures"],
                "parameters": size.parameters,
                "multiply_adds": size.multiply_adds,
                "ms": each,
                "trained_pictures_per_second": rate(one, model.card),
                "command": shlex.join(["pelee-train", *one.words]),
            }
        )
    text = markdown(rows)
    for name, content in (("compare.md", text), ("compare.json", json.dumps(rows, indent=2) + "\n")):
        with atomic_path(folder / name) as aside:
            aside.write_text(content, encoding="utf-8")
    return text


def best(card: Card) -> dict[str, Any]:
    """Score that training wrote into a card."""
    return card.scores[0]


def rate(one: Run, card: Card) -> float | None:
    """Images per second of a whole run, start-up and validations included; None for a resumed run."""
    if not one.seconds_file.is_file():
        return None
    images = int(card.training["data"].partition(": ")[2].split()[0])
    steps = one.settings.total_steps(images)
    done: float = steps * min(one.settings.batch_size, images) / json.loads(one.seconds_file.read_text())["seconds"]
    return round(done, 1)


def time_designs(models: Sequence[ModelFile]) -> list[float]:
    """Milliseconds per image of each model, network only: the median of `ROUNDS` · `CALLS` calls."""
    cards = [model.card for model in models]
    designs = [json.dumps([c.architecture, c.architecture_settings, c.input_size, len(c.class_names)]) for c in cards]
    chosen = {design: model for design, model in zip(designs, models, strict=True)}
    runtimes = {
        design: Detector.load(model.path.parent, runtime="torch", device="cpu").runtime
        for design, model in chosen.items()
    }
    spent: dict[str, list[float]] = {design: [] for design in chosen}
    for _ in range(ROUNDS):
        for design, runtime in runtimes.items():
            image = np.zeros((1, runtime.input_size, runtime.input_size, 3), np.uint8)
            runtime(image)  # warms the caches after another network
            for _ in range(CALLS):
                started = time.perf_counter()
                runtime(image)
                spent[design].append(time.perf_counter() - started)
    return [round(1000 * statistics.median(spent[design]), 2) for design in designs]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown table of the rows, followed by their commands."""
    lines = [f"mAP (VOC, 11-point, IoU 0.5) on {rows[0]['split']}, {rows[0]['pictures']:,} images.", ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    for row in rows:
        changed = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in row["changed"].items())
        cells = [
            row["variant"],
            changed or "as the recipe",
            f"{row['map']:.1f}",
            f"{row['delta']:+.1f}" if row is not rows[0] else "",
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:,.0f} M",
            "" if row["ms"] is None else f"{row['ms']:.1f}",
            "" if row["trained_pictures_per_second"] is None else f"{row['trained_pictures_per_second']:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    commands = [f"{row['command']}" for row in rows]
    return "\n".join([*lines, "", "```", *commands, "```", ""])
