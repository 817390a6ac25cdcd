"""Training-run folders: card or record, logs, event files."""

from pathlib import Path
from typing import Any

import pytest

from data.errors import SettingsError
from pelee.runs.run import open_run
from pelee.runs.run_record import record_run
from tests.support.training_runs import CLASSES, SETTINGS, make_run, write_events


def test_open_run_of_a_finished_run_reads_its_card_and_best_validation(scratch_run: Path) -> None:
    run = open_run(scratch_run)
    assert (run.name, run.task, run.finished) == ("scratch", "classification", True)
    assert (run.model, run.dataset, run.command) == ("peleenet", "cifar10 train", "pelee-train-classifier --lr 0.1")
    assert (run.best, run.best_epoch, run.best_step, run.steps) == (0.375, 2, 80, 80)
    assert run.scores == [(40, 0.25), (80, 0.375)]  # without the repeated validation at the end
    assert run.losses == [(20, 2.5), (40, 2.0), (60, 1.5), (80, 1.0)]
    assert run.seconds is None and run.images_per_second is None


def test_open_run_of_a_running_run_reads_its_record_and_skips_an_incomplete_line(running_run: Path) -> None:
    run = open_run(running_run)
    assert (run.task, run.finished, run.model, run.dataset) == ("detection", False, "pelee", "voc t")
    assert (run.best, run.best_epoch, run.best_step, run.steps) == (0.5, 1, 25, 50)
    assert run.settings == {"lr": 1, "started_from": "b"}


def test_record_run_keeps_the_record_of_a_started_run_and_removes_that_of_a_failed_one(
    running_run: Path, tmp_path: Path
) -> None:
    record: dict[str, Any] = {"command": "other", "model": "m", "dataset": "d", "settings": {}, "started_from": None}
    with pytest.raises(SettingsError), record_run(tmp_path / "refused", **record):
        raise SettingsError("no")
    assert not (tmp_path / "refused").exists()
    with pytest.raises(SettingsError), record_run(running_run, **record):
        raise SettingsError("in the midst")
    assert open_run(running_run).command == "other"
    (running_run / "last.ckpt").touch()
    with record_run(running_run, **record | {"command": "third"}):
        pass
    assert open_run(running_run).command == "other"


def test_open_run_before_the_first_log_line_has_no_score(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path / "new", CLASSES))
    assert (run.best, run.best_step, run.steps, run.scores, run.losses) == (None, None, 0, [], [])


def test_a_validation_after_the_last_step_counts_no_step(tmp_path: Path) -> None:
    """Where `max_steps` ends a run in the midst of an epoch, its only validation has the number of steps done."""
    rows = CLASSES + "0,19,2.0,2.0,0.1,,\n1,30,,,,0.5,0.5\n1,30,,,,0.5,0.5\n"
    run = open_run(make_run(tmp_path / "short", rows, settings=SETTINGS | {"max_steps": 30, "epochs": 1}))
    assert (run.best_step, run.best_epoch, run.steps, run.scores) == (30, 1, 30, [(30, 0.5)])


def test_a_resumed_start_replaces_the_steps_that_it_repeats(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "resumed", CLASSES + "1,59,3.5,3.5,0.1,,\n1,79,3.0,3.0,0.1,,\n")
    first = "0,19,9,9,0.1,,\n0,39,8,8,0.1,,\n0,39,,,,0.5,0.5\n1,59,7,7,0.1,,\n1,79,6,6,0.1,,\n"
    (folder / "logs" / "metrics-1.csv").write_text(CLASSES + first)
    (folder / "logs" / "metrics-2.csv").write_text(CLASSES + "1,59,5,5,0.1,,\n")
    for number in range(3, 11):  # starts that logged nothing; the tenth is sorted after the ninth
        (folder / "logs" / f"metrics-{number}.csv").write_text(CLASSES if number < 10 else CLASSES + "1,49,4,4,0.1,,\n")
    run = open_run(folder)
    assert run.losses == [(20, 9), (40, 8), (50, 4), (60, 3.5), (80, 3.0)]
    assert run.scores == [(40, 0.5)]


def test_time_and_throughput_come_from_the_events_of_every_start(
    scratch_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 20 steps of 32 images in 10 s, a validation of 90 s, 20 steps in 10 s; and a second start of 5 s
    losses = [(1030.0, 19), (1040.0, 39), (1130.0, 40), (1140.0, 60)]
    write_events(scratch_run / "logs", 1000.0, losses, monkeypatch)
    write_events(scratch_run / "logs", 2000.0, [(2005.0, 79)], monkeypatch)
    run = open_run(scratch_run)
    assert (run.seconds, run.images_per_second) == (145.0, 64.0)
