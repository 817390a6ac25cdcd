"""Output folders of small training runs, as both trainers write them."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer import event_file_writer

from pelee.runs.run_record import record_run
from weights.card import Card

CLASSES = "epoch,step,train/classes,train/loss,train/lr,val/top1,val/top5\n"
BOXES = "epoch,step,train/classification,train/localization,train/loss,train/lr,val/mAP\n"
# Two epochs of 40 steps, the second better, then the same weights validated again after the last step.
CLASSIFIER = CLASSES + (
    "0,19,2.5,2.5,0.1,,\n0,39,2.0,2.0,0.1,,\n0,39,,,,0.25,0.5\n1,59,1.5,1.5,0.05,,\n1,79,1.0,1.0,0.01,,\n"
    "1,79,,,,0.375,0.625\n2,80,,,,0.375,0.625\n"
)
DETECTOR = BOXES + "0,19,3.0,1.0,4.0,0.1,\n0,24,,,,,0.5\n1,39,2.0,1.0,3.0,0.1,\n1,49,,,,,0.125\n"
SETTINGS = {"epochs": 2, "max_steps": None, "batch_size": 32, "lr": 0.1, "workers": 0}


def make_run(folder: Path, rows: str, **card: Any) -> Path:
    """Write a run's folder: its CSV log and, from the keywords, the `training` part of its card."""
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "metrics.csv").write_text(rows)
    if card:
        training = {"command": "", "commit": "", "settings": {}, "data": "", "started_from": None, **card}
        written = Card("x", "classification", "peleenet", ["a"], 32, training=training, file="m.safetensors")
        (folder / "model").mkdir()
        written = dataclasses.replace(written, sha256=64 * "0")
        (folder / "model" / "card.json").write_text(written.to_json())
    return folder


def write_events(logs: Path, begin: float, losses: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a TensorBoard event file with this start time and these (time, step) pairs of the loss."""
    with monkeypatch.context() as patch:
        patch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: begin))
        writer = event_file_writer.EventFileWriter(str(logs))
        for wall_time, step in losses:
            summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=1.0)])
            writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))
        writer.close()


@pytest.fixture
def scratch_run(tmp_path: Path) -> Path:
    """A finished training of a classifier."""
    return make_run(
        tmp_path / "runs" / "scratch",
        CLASSIFIER,
        command="pelee-train-classifier --lr 0.1",
        settings=SETTINGS,
        data="cifar10 train: 1280 pictures",
    )


@pytest.fixture
def tuned_run(tmp_path: Path) -> Path:
    """A finished fine-tuning of the same classifier, with other settings."""
    return make_run(
        tmp_path / "runs" / "tuned",
        CLASSIFIER.replace("0.375", "0.875").replace("2.0,2.0", "0.5,0.5"),
        command="pelee-train-classifier --lr 0.01 --weights base",
        settings=SETTINGS | {"lr": 0.01, "workers": 4, "model_settings": {"growth_rate": 16}},
        data="cifar10 train: 1280 pictures",
        started_from="base, SHA-256 abc",
    )


@pytest.fixture
def running_run(tmp_path: Path) -> Path:
    """A detector's training that has not finished; the last line of its log is incomplete."""
    folder = make_run(tmp_path / "runs" / "boxes", DETECTOR + "2,59,1.0,")
    record = {"command": "pelee-train --dataset voc", "model": "pelee", "dataset": "voc t", "settings": {"lr": 1}}
    with record_run(folder, **record, started_from="b"):  # type: ignore[arg-type]
        pass
    return folder
