"""Runs of both trainers, finished or not, as their folders tell them: what was trained, how, and how well it went.

A run's folder holds `run.json`, written as the training begins, `logs/metrics.csv` (and metrics-1.csv, ... of its
earlier starts), TensorBoard's event files beside them, which know the time, and in the end `model/card.json`.
"""

import csv
import json
import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from data.atomic_files import atomic_path
from data.errors import DatasetError, PeleeError
from weights.card import CARD_NAME, Card

RECORD = "run.json"
# What the best checkpoint of each trainer goes by, 0 to 1, and its name.
SCORES = {"classification": ("val/top1", "top-1"), "detection": ("val/mAP", "mAP")}
DETECTION_ONLY = {"val/mAP", "train/localization"}  # columns
LOSS = "train/loss"
DEPTH = 3  # levels of folders below a folder of runs
MetricCurve = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One run.

    Attributes:
        name: the folder's; in a comparison as much of its path as tells the runs apart.
        finished: whether its model was written.
        model, dataset, command: as its card or its record says; "" where there is neither.
        settings: all of the training's, and `started_from`; empty where there is neither card nor record.
        task: "classification" or "detection".
        best: the highest top-1 or mAP, 0 to 1; best_epoch, best_step: epochs and steps done when it was first reached.
            None before the first validation.
        steps: done so far, as far as the logs go.
        seconds: of wall clock over all starts; None without event files.
        images_per_second: in training, the median over the log's intervals; None where the log is too short.
        scores, losses: (steps done, value) pairs.
    """

    name: str
    folder: Path
    finished: bool
    model: str
    dataset: str
    command: str
    settings: Mapping[str, Any]
    task: str
    best: float | None
    best_epoch: int | None
    best_step: int | None
    steps: int
    seconds: float | None
    images_per_second: float | None
    scores: MetricCurve
    losses: MetricCurve


@contextmanager
def record_run(
    folder: Path, *, command: str, model: str, dataset: str, settings: Mapping[str, Any], started_from: str | None
) -> Iterator[None]:
    """A training that writes down what it is as it begins, for whoever looks before its card is there.

    All is in the words of that card. A run that was begun earlier keeps its record, as it is gone on with or is not
    written over; one that is refused before its first step leaves none.
    """
    file = folder / RECORD
    if (folder / "last.ckpt").is_file():
        yield
        return
    record = {"command": command, "model": model, "dataset": dataset, "settings": settings}
    with atomic_path(file) as aside:
        aside.write_text(json.dumps({**record, "started_from": started_from}, indent=2) + "\n", encoding="utf-8")
    try:
        yield
    except PeleeError:
        if not (folder / "logs").exists():
            file.unlink(missing_ok=True)
            with suppress(OSError):  # it holds something else
                folder.rmdir()
        raise


def find_runs(path: Path) -> list[Path]:
    """The run at `path`, or the runs in a folder of them, by name.

    Raises:
        DatasetError: there is neither.
    """
    for depth in range(DEPTH + 1):
        found = {file.parent.parent for file in path.glob("*/" * depth + "logs/metrics*.csv")}
        if found:
            return sorted(found)
    what = "has no logs/metrics.csv, nor has a folder in it" if path.is_dir() else "is no folder"
    raise DatasetError(f"{path} is no run: it {what}; expected the --output of a training that has begun")


def open_run(folder: Path) -> TrainingRun:
    """Read a run.

    Raises:
        WeightsError: a card that is damaged. DatasetError: a record that is.
    """
    told = _describe(folder)
    settings = told["settings"]
    # Rows have the number of the latest step, but those of a measurement after the last one have the number of steps.
    most = {key: settings.get(key) or math.inf for key in ("max_steps", "epochs")}
    rows = [
        {**row, "step": min(row["step"] + 1, most["max_steps"]), "epoch": min(row["epoch"] + 1, most["epochs"])}
        for row in read_metrics(folder / "logs")
    ]
    task = "detection" if any(DETECTION_ONLY & row.keys() for row in rows) else "classification"
    column = SCORES[task][0]
    measured = [row for row in rows if column in row]
    # A run that is resumed when it is done measures its weights once more, as earlier versions did at every end: that
    # is no point of the curve.
    if len(measured) > 1 and measured[-1]["step"] - measured[-2]["step"] <= 1:
        *before, last = measured
        if last[column] == max(row[column] for row in before):
            measured = before
    best = max(measured, key=lambda row: row[column], default=None)
    starts = _times(folder / "logs")
    rates = [
        (after[1] - before[1]) / (after[0] - before[0])
        for start in starts
        for before, after in pairwise(start.losses)
        if after[0] > before[0] and after[1] > before[1]
    ]
    return TrainingRun(
        name=folder.resolve().name,
        folder=folder,
        task=task,
        best=best[column] if best else None,
        best_epoch=int(best["epoch"]) if best else None,
        best_step=int(best["step"]) if best else None,
        steps=max((int(row["step"]) for row in rows if LOSS in row or row in measured), default=0),
        seconds=sum(start.end - start.begin for start in starts) if starts else None,
        images_per_second=settings["batch_size"] * statistics.median(rates)
        if rates and "batch_size" in settings
        else None,
        scores=[(int(row["step"]), row[column]) for row in measured],
        losses=[(int(row["step"]), row[LOSS]) for row in rows if LOSS in row],
        **told,
    )


def _describe(folder: Path) -> dict[str, Any]:
    """What a run is: by its model's card, before there is one by its record."""
    card_file, record = folder / "model" / CARD_NAME, folder / RECORD
    if card_file.is_file():
        card = Card.load(card_file)
        told = {**card.training, "model": card.architecture, "dataset": card.training["data"].partition(": ")[0]}
    elif record.is_file():
        try:
            told = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{record} is no JSON ({error}); remove it to compare the run without it") from None
    else:
        told = {}
    start = told.get("started_from")
    settings = told.get("settings", {}) | ({"started_from": start and start.partition(", ")[0]} if told else {})
    words = {key: told.get(key, "") for key in ("model", "dataset", "command")}
    return {"finished": card_file.is_file(), "settings": settings, **words}


def read_metrics(logs: Path) -> list[dict[str, float]]:
    """The rows of a run's CSV logs in the order of its steps, each with what it has of the columns.

    A start that goes on from a checkpoint does some steps anew: its rows take the place of the earlier ones.
    """
    earlier = sorted(logs.glob("metrics-*.csv"), key=lambda file: int(file.stem.partition("-")[2]))
    merged: list[dict[str, float]] = []
    for file in [*earlier, logs / "metrics.csv"]:
        rows = _read_csv(file) if file.is_file() else []
        if rows:
            first = min(row["step"] for row in rows)
            merged = [row for row in merged if row["step"] < first] + rows
    return merged


def _read_csv(file: Path) -> list[dict[str, float]]:
    rows = []
    with file.open(newline="", encoding="utf-8") as stream:
        for cells in csv.DictReader(stream):
            try:
                row = {name: float(cell) for name, cell in cells.items() if cell}
            except (TypeError, ValueError):  # half a line: the run is writing it
                continue
            if "step" in row and "epoch" in row:
                rows.append(row)
    return rows


class _Start(NamedTuple):
    """One start of a run, by TensorBoard's file: when it began and ended, and (time, step) of each logged loss."""

    begin: float
    end: float
    losses: list[tuple[float, int]]


def _times(logs: Path) -> list[_Start]:
    files = sorted(logs.glob("events.out.tfevents.*"))
    if not files:
        return []
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    starts = []
    for file in files:
        if events := list(LegacyEventFileLoader(str(file)).Load()):
            losses = [
                (event.wall_time, event.step)
                for event in events
                if any(value.tag == LOSS for value in event.summary.value)
            ]
            starts.append(_Start(events[0].wall_time, events[-1].wall_time, losses))
    return starts
