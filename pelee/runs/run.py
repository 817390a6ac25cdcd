"""Training runs of both trainers, finished or not, read from their output folders.

A run's folder holds `run.json`, written when the training starts, `logs/metrics.csv` (and metrics-1.csv, ... of its
earlier starts), TensorBoard's event files next to them, which hold the wall-clock times, and at the end
`model/card.json`.
"""

import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import DatasetError
from pelee.runs.run_record import RECORD
from weights.card import CARD_NAME, Card

# The validation score that chooses each trainer's best checkpoint, 0 to 1: its column and its name.
SCORES = {"classification": ("val/top1", "top-1"), "detection": ("val/mAP", "mAP")}
DETECTION_ONLY = {"val/mAP", "train/localization"}  # columns
LOSS = "train/loss"
DEPTH = 3  # levels of folders below a folder of runs
MetricCurve = list[tuple[int, float]]
MetricRow = dict[str, float]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One training run.

    Attributes:
        name: name of the folder.
        finished: whether the model was written.
        model, dataset, command: from the card or the record; "" where there is neither.
        settings: all settings of the training, and `started_from`; empty where there is neither card nor record.
        task: "classification" or "detection".
        best: the highest top-1 or mAP, 0 to 1; best_epoch, best_step: epochs and steps done when it was first reached.
            None before the first validation.
        steps: done so far, by the logs.
        seconds: wall clock, summed over all starts; None without event files.
        images_per_second: training throughput, the median over the log's intervals; None where the log is too short.
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


def find_runs(path: Path) -> list[Path]:
    """The run folder `path` itself, or the run folders below it, sorted by name.

    Raises:
        DatasetError: there is neither.
    """
    for depth in range(DEPTH + 1):
        found = {file.parent.parent for file in path.glob("*/" * depth + "logs/metrics*.csv")}
        if found:
            return sorted(found)
    reason = "has no logs/metrics.csv, nor has a folder in it" if path.is_dir() else "is no folder"
    raise DatasetError(f"{path} is no run: it {reason}; expected the --output of a training that has begun")


def open_run(folder: Path) -> TrainingRun:
    """Read a run's folder.

    Raises:
        WeightsError: the card is damaged.
        DatasetError: the record is damaged.
    """
    described = _read_description(folder)
    rows = _count_steps_done(read_metrics(folder / "logs"), described.settings)
    task = "detection" if any(DETECTION_ONLY & row.keys() for row in rows) else "classification"
    column = SCORES[task][0]
    validations = _validations(rows, column)
    best = max(validations, key=lambda row: row[column], default=None)
    starts = _read_starts(folder / "logs")
    return TrainingRun(
        name=folder.resolve().name,
        folder=folder,
        finished=described.finished,
        model=described.model,
        dataset=described.dataset,
        command=described.command,
        settings=described.settings,
        task=task,
        best=best[column] if best else None,
        best_epoch=int(best["epoch"]) if best else None,
        best_step=int(best["step"]) if best else None,
        steps=max((int(row["step"]) for row in rows if LOSS in row or row in validations), default=0),
        seconds=sum(start.end - start.begin for start in starts) if starts else None,
        images_per_second=_throughput(starts, described.settings.get("batch_size")),
        scores=[(int(row["step"]), row[column]) for row in validations],
        losses=[(int(row["step"]), row[LOSS]) for row in rows if LOSS in row],
    )


class _Description(NamedTuple):
    """The part of a `TrainingRun` that its card or its record holds."""

    finished: bool
    model: str
    dataset: str
    command: str
    settings: Mapping[str, Any]


def _read_description(folder: Path) -> _Description:
    """Read the model's card, or before it exists the record; empty where there is neither."""
    card_file, record = folder / "model" / CARD_NAME, folder / RECORD
    if card_file.is_file():
        card = Card.load(card_file)
        found = {**card.training, "model": card.architecture, "dataset": card.training["data"].partition(": ")[0]}
    elif record.is_file():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{record} is no JSON ({error}); remove it to compare the run without it") from None
    else:
        return _Description(False, "", "", "", {})
    start = found.get("started_from")
    settings = found.get("settings", {}) | {"started_from": start and start.partition(", ")[0]}
    model, dataset, command = (found.get(key, "") for key in ("model", "dataset", "command"))
    return _Description(card_file.is_file(), model, dataset, command, settings)


def _count_steps_done(rows: Sequence[MetricRow], settings: Mapping[str, Any]) -> list[MetricRow]:
    """Rows with the numbers of steps and epochs done, in place of the 0-based ones of the latest.

    A validation after the last step is logged with the number of steps done already; hence the upper bounds.
    """
    max_steps, epochs = (settings.get(key) or math.inf for key in ("max_steps", "epochs"))
    return [{**row, "step": min(row["step"] + 1, max_steps), "epoch": min(row["epoch"] + 1, epochs)} for row in rows]


def _validations(rows: Sequence[MetricRow], column: str) -> list[MetricRow]:
    """The rows that hold a validation score.

    A run that is resumed after its end validates its best weights once more, as earlier versions did at every end.
    That last row is no point of the curve and is dropped.
    """
    found = [row for row in rows if column in row]
    if len(found) > 1 and found[-1]["step"] - found[-2]["step"] <= 1:
        *before, last = found
        if last[column] == max(row[column] for row in before):
            return before
    return found


def read_metrics(logs: Path) -> list[MetricRow]:
    """The rows of a run's CSV logs in the order of its steps; each holds only the columns that have a value.

    A start that resumes from a checkpoint repeats some steps: its rows replace the earlier ones.
    """
    earlier = sorted(logs.glob("metrics-*.csv"), key=lambda file: int(file.stem.partition("-")[2]))
    merged: list[MetricRow] = []
    for file in [*earlier, logs / "metrics.csv"]:
        rows = _read_csv(file) if file.is_file() else []
        if rows:
            first = min(row["step"] for row in rows)
            merged = [row for row in merged if row["step"] < first] + rows
    return merged


def _read_csv(file: Path) -> list[MetricRow]:
    rows = []
    with file.open(newline="", encoding="utf-8") as stream:
        for cells in csv.DictReader(stream):
            try:
                row = {name: float(cell) for name, cell in cells.items() if cell}
            except (TypeError, ValueError):  # an incomplete line: the run is writing it
                continue
            if "step" in row and "epoch" in row:
                rows.append(row)
    return rows


class _Start(NamedTuple):
    """One start of a run, from a TensorBoard event file: begin and end, and (time, step) of each logged loss."""

    begin: float
    end: float
    losses: list[tuple[float, int]]


def _read_starts(logs: Path) -> list[_Start]:
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


def _throughput(starts: Sequence[_Start], batch_size: int | None) -> float | None:
    """Images per second: the median over the intervals between logged losses."""
    rates = [
        (after[1] - before[1]) / (after[0] - before[0])
        for start in starts
        for before, after in pairwise(start.losses)
        if after[0] > before[0] and after[1] > before[1]
    ]
    return batch_size * statistics.median(rates) if rates and batch_size is not None else None
