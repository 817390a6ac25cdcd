"""pelee-runs: the folders that the trainers leave, read, compared and drawn."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer import event_file_writer

from data.errors import SettingsError
from pelee.commands.runs import main
from pelee.runs.compare import differing_settings, distinguishing_names
from pelee.runs.plot import smoothed
from pelee.runs.run import find_runs, open_run, record_run
from weights.card import Card

CLASSES = "epoch,step,train/classes,train/loss,train/lr,val/top1,val/top5\n"
BOXES = "epoch,step,train/classification,train/localization,train/loss,train/lr,val/mAP\n"
# Two epochs of 40 steps, the second better, then the same weights measured once more, after the last step.
CLASSIFIER = CLASSES + (
    "0,19,2.5,2.5,0.1,,\n0,39,2.0,2.0,0.1,,\n0,39,,,,0.25,0.5\n1,59,1.5,1.5,0.05,,\n1,79,1.0,1.0,0.01,,\n"
    "1,79,,,,0.375,0.625\n2,80,,,,0.375,0.625\n"
)
DETECTOR = BOXES + "0,19,3.0,1.0,4.0,0.1,\n0,24,,,,,0.5\n1,39,2.0,1.0,3.0,0.1,\n1,49,,,,,0.125\n"
SETTINGS = {"epochs": 2, "max_steps": None, "batch_size": 32, "lr": 0.1, "workers": 0}


def make_run(folder: Path, rows: str, **card: Any) -> Path:
    """A run's folder; with a card where one is given by what it says."""
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
    """A TensorBoard file that was begun at that time, with these (time, step) of the loss."""
    with monkeypatch.context() as patch:
        patch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: begin))
        writer = event_file_writer.EventFileWriter(str(logs))
        for wall_time, step in losses:
            summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=1.0)])
            writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))
        writer.close()


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return make_run(
        tmp_path / "runs" / "scratch",
        CLASSIFIER,
        command="pelee-train-classifier --lr 0.1",
        settings=SETTINGS,
        data="cifar10 train: 1280 pictures",
    )


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    return make_run(
        tmp_path / "runs" / "tuned",
        CLASSIFIER.replace("0.375", "0.875").replace("2.0,2.0", "0.5,0.5"),
        command="pelee-train-classifier --lr 0.01 --weights base",
        settings=SETTINGS | {"lr": 0.01, "workers": 4, "model_settings": {"growth_rate": 16}},
        data="cifar10 train: 1280 pictures",
        started_from="base, SHA-256 abc",
    )


@pytest.fixture
def running(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "runs" / "boxes", DETECTOR + "2,59,1.0,")
    told = {"command": "pelee-train --dataset voc", "model": "pelee", "dataset": "voc t", "settings": {"lr": 1}}
    with record_run(folder, **told, started_from="b"):  # type: ignore[arg-type]
        pass
    return folder


def test_a_finished_run_is_told_by_its_card_and_its_best_validation(classifier: Path) -> None:
    run = open_run(classifier)
    assert (run.name, run.task, run.finished) == ("scratch", "classification", True)
    assert (run.model, run.dataset, run.command) == ("peleenet", "cifar10 train", "pelee-train-classifier --lr 0.1")
    assert (run.best, run.best_epoch, run.best_step, run.steps) == (0.375, 2, 80, 80)
    assert run.scores == [(40, 0.25), (80, 0.375)]  # without the measurement at its end
    assert run.losses == [(20, 2.5), (40, 2.0), (60, 1.5), (80, 1.0)]
    assert run.seconds is None and run.images_per_second is None


def test_a_running_run_is_told_by_its_record_and_half_a_line_is_passed_over(running: Path) -> None:
    run = open_run(running)
    assert (run.task, run.finished, run.model, run.dataset) == ("detection", False, "pelee", "voc t")
    assert (run.best, run.best_epoch, run.best_step, run.steps) == (0.5, 1, 25, 50)
    assert run.settings == {"lr": 1, "started_from": "b"}


def test_a_record_stays_with_the_run_that_began_and_a_refused_one_leaves_none(running: Path, tmp_path: Path) -> None:
    told: dict[str, Any] = {"command": "other", "model": "m", "dataset": "d", "settings": {}, "started_from": None}
    with pytest.raises(SettingsError), record_run(tmp_path / "refused", **told):
        raise SettingsError("no")
    assert not (tmp_path / "refused").exists()
    with pytest.raises(SettingsError), record_run(running, **told):
        raise SettingsError("in the midst")
    assert open_run(running).command == "other"
    (running / "last.ckpt").touch()
    with record_run(running, **told | {"command": "third"}):
        pass
    assert open_run(running).command == "other"


def test_a_run_that_has_just_begun_has_no_score(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path / "new", CLASSES))
    assert (run.best, run.best_step, run.steps, run.scores, run.losses) == (None, None, 0, [], [])


def test_a_measurement_after_the_last_step_counts_no_step_of_its_own(tmp_path: Path) -> None:
    """Where `max_steps` ends a run in the midst of an epoch, its only validation has the number of steps done."""
    rows = CLASSES + "0,19,2.0,2.0,0.1,,\n1,30,,,,0.5,0.5\n1,30,,,,0.5,0.5\n"
    run = open_run(make_run(tmp_path / "short", rows, settings=SETTINGS | {"max_steps": 30, "epochs": 1}))
    assert (run.best_step, run.best_epoch, run.steps, run.scores) == (30, 1, 30, [(30, 0.5)])


def test_a_later_start_takes_the_place_of_the_steps_that_it_did_anew(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "resumed", CLASSES + "1,59,3.5,3.5,0.1,,\n1,79,3.0,3.0,0.1,,\n")
    first = "0,19,9,9,0.1,,\n0,39,8,8,0.1,,\n0,39,,,,0.5,0.5\n1,59,7,7,0.1,,\n1,79,6,6,0.1,,\n"
    (folder / "logs" / "metrics-1.csv").write_text(CLASSES + first)
    (folder / "logs" / "metrics-2.csv").write_text(CLASSES + "1,59,5,5,0.1,,\n")
    for number in range(3, 11):  # a start that logged nothing; and the tenth comes after the ninth
        (folder / "logs" / f"metrics-{number}.csv").write_text(CLASSES if number < 10 else CLASSES + "1,49,4,4,0.1,,\n")
    run = open_run(folder)
    assert run.losses == [(20, 9), (40, 8), (50, 4), (60, 3.5), (80, 3.0)]
    assert run.scores == [(40, 0.5)]


def test_time_and_rate_come_from_the_events_of_every_start(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 20 steps of 32 pictures in 10 s, a validation of 90 s, 20 steps in 10 s; and a second start of 5 s
    losses = [(1030.0, 19), (1040.0, 39), (1130.0, 40), (1140.0, 60)]
    write_events(classifier / "logs", 1000.0, losses, monkeypatch)
    write_events(classifier / "logs", 2000.0, [(2005.0, 79)], monkeypatch)
    run = open_run(classifier)
    assert (run.seconds, run.images_per_second) == (145.0, 64.0)


def test_only_what_differs_between_runs_of_a_task_is_told(classifier: Path, tuned: Path, running: Path) -> None:
    runs = [open_run(folder) for folder in (classifier, tuned, running)]
    assert differing_settings(runs) == {
        ("classification", "lr"),
        ("classification", "started_from"),
    }  # the workers are no matter
    assert differing_settings(runs[:1]) == differing_settings(runs[1:]) == set()


def test_runs_are_found_below_a_folder_and_told_apart_by_their_path(
    classifier: Path, tuned: Path, tmp_path: Path
) -> None:
    assert find_runs(classifier) == [classifier]
    assert find_runs(tmp_path) == find_runs(tmp_path / "runs") == [classifier, tuned]
    other = make_run(tmp_path / "more" / "scratch", CLASSIFIER)
    assert distinguishing_names([open_run(one) for one in (classifier, tuned, other)]) == [
        "runs/scratch",
        "tuned",
        "more/scratch",
    ]


def test_the_table_shows_what_was_trained_how_and_how_well(
    classifier: Path, tuned: Path, running: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(classifier.parent)]) == 0
    lines = {line.split()[0]: line for line in reversed(capsys.readouterr().out.splitlines())}
    assert "lr 0.1" in lines["scratch"] and "top-1 37.50" in lines["scratch"] and "80" in lines["scratch"]
    assert "lr 0.01" in lines["tuned"] and "top-1 87.50" in lines["tuned"]
    assert "mAP 50.00" in lines["boxes"] and "50 …" in lines["boxes"]
    assert lines["tuned:"] == "tuned: pelee-train-classifier --lr 0.01 --weights base"


def test_json_is_a_line_for_each_run(classifier: Path, running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(classifier), str(running), "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["name"] == "scratch" and first["scores"] == [[40, 0.25], [80, 0.375]] and first["finished"]
    assert second["task"] == "detection" and second["settings"]["lr"] == 1 and second["folder"] == str(running)


def test_the_plot_has_a_row_of_panels_for_each_task(
    classifier: Path, tuned: Path, running: Path, tmp_path: Path
) -> None:
    assert main([str(classifier), str(tuned), "--plot", str(tmp_path / "one.png")]) == 0
    assert main([str(classifier.parent), "--plot", str(tmp_path / "two.png")]) == 0
    one, two = (cv2.imread(str(tmp_path / name))[:, :, ::-1].astype(int) for name in ("one.png", "two.png"))
    assert two.shape[0] > 1.6 * one.shape[0] and one.shape[1] == two.shape[1]
    half = one.shape[1] // 2
    for colour in ((31, 119, 180), (255, 127, 14)):  # of the first and the second run
        drawn = np.abs(one - colour).max(2) < 30
        assert drawn[:, :half].sum() > 100 and drawn[:, half:].sum() > 100


def test_what_is_no_run_is_one_line_and_the_others_are_shown(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), str(classifier)]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and "empty is no run" in err and "scratch" in out
    assert main([str(tmp_path / "absent")]) == 2
    assert "absent is no run: it is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["run.json", "model/card.json"])
def test_a_damaged_description_is_one_line(file: str, classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (classifier / "model" / "card.json").unlink()
    (classifier / file).write_text("{")
    assert main([str(classifier)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and file.rpartition("/")[2] in err


def test_a_plot_of_another_kind_is_refused(classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(classifier), "--plot", "runs.jpeg2"]) == 2
    assert "runs.jpeg2: expected a file name that ends in .png" in capsys.readouterr().err


def test_smoothing_keeps_a_line_and_evens_noise() -> None:
    line = [float(value) for value in range(100)]
    assert smoothed(line)[5:-5] == pytest.approx(line[5:-5])
    noise = np.random.default_rng(0).normal(size=1000)
    assert np.std(smoothed(noise.tolist())) < 0.2 and len(smoothed([1.0])) == 1
