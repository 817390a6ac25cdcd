"""pelee-search from the command line: trials, resumption, results, errors."""

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from pelee.classification.loading import load_network
from pelee.classification.training.settings import resolve_settings
from pelee.commands.search import main, multiply_adds
from pelee.models.complexity import count
from pelee.runs.run import find_runs, open_run
from pelee.search import study
from tests.support.tiny_search import LIMIT, multiply_adds_of
from weights.store import resolve

QUICK = ["--max-multiply-adds", "6M", "--random", "2", "--epochs", "1", "--max-steps", "2", "--batch-size", "6"]
QUICK += ["--input-size", "32", "--picture-size", "32", "--precision", "fp32", "--accelerator", "cpu"]


def search(two_color_folders: Path, output: Path, *words: str) -> int:
    return main(["--dataset", "imagefolder", "--root", str(two_color_folders), "--output", str(output), *QUICK, *words])


@pytest.mark.parametrize(("text", "number"), [("300M", 3e8), ("1.2g", 1.2e9), ("5000", 5e3)])
def test_multiply_adds_take_a_suffix(text: str, number: float) -> None:
    assert multiply_adds(text) == number


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_lightning")
def test_search_is_resumed_and_writes_its_best_design(
    two_color_folders: Path,
    tmp_path: Path,
    launched: list[list[str]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:
    output = tmp_path / "search"
    with monkeypatch.context() as patch:  # ctrl-C during the first trial
        patch.setattr(study, "launch", lambda words: 130)
        assert search(two_color_folders, output, "--trials", "1", "--morph") == 130
    assert search(two_color_folders, output, "--trials", "1", "--morph") == 0
    assert [Path(words[words.index("--output") + 1]).name for words in launched] == ["0000"]  # the interrupted one
    assert search(two_color_folders, output, "--trials", "2", "--morph") == 0
    out = capfd.readouterr().out
    assert "is resumed: 1 of 2 trials are done" in out and len(launched) == 2

    found = json.loads((output / "search.json").read_text())
    assert [row["number"] for row in found["trials"]] == [0, 1]
    for row in found["trials"]:
        model = resolve(row["folder"] + "/model")
        network = load_network(model)
        assert count(network, 32).multiply_adds == row["multiply_adds"] <= LIMIT
        assert model.card.scores[0]["value"] == row["top1"]
        assert not list(Path(row["folder"]).glob("*.ckpt"))
    scores = {row["number"]: (row["top1"], -row["multiply_adds"]) for row in found["trials"]}
    assert scores[found["best"]] == max(scores.values()) and found["best"] in found["front"]
    for number, (top1, cheap) in scores.items():
        beaten = any(a >= top1 and b >= cheap and (a, b) != (top1, cheap) for a, b in scores.values())
        assert (number in found["front"]) != beaten

    best = found["trials"][found["best"]]
    settings = resolve_settings(str(output / "best.yaml"), {"epochs": 2}, "imagefolder")
    assert multiply_adds_of(settings.model_settings) == best["multiply_adds"] and settings.lr == best["lr"]
    assert yaml.safe_load((output / "best.yaml").read_text())["max_steps"] == 2
    assert cv2.imread(str(output / "pareto.png")).std() > 5

    run = open_run(find_runs(output)[0])  # a trial is a run for pelee-runs, finished or not
    assert run.model == "peleenet" and run.finished and run.steps == 2 and run.best == scores[0][0] / 100
    (run.folder / "model" / "card.json").unlink()
    assert open_run(run.folder) == run.__class__(
        **{name: getattr(run, name) for name in run.__slots__} | {"finished": False}
    )

    assert search(two_color_folders, output, "--trials", "2", "--lr", "0.3", "--morph") == 2
    assert "was begun with lr 0.1 and cannot go on with 0.3" in capfd.readouterr().err


@pytest.mark.slow
def test_training_that_is_killed_is_a_failed_trial_and_the_search_continues(
    two_color_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "launch", lambda words: -9)  # killed, out of memory
    wide = ["--max-multiply-adds", "50M"]  # quick to draw from
    assert search(two_color_folders, tmp_path / "search", "--trials", "2", *wide) == 0
    assert capsys.readouterr().out.count("failed; see the output of its training") == 2
    monkeypatch.setattr(study, "launch", lambda words: 2)
    assert search(two_color_folders, tmp_path / "search", "--trials", "3", *wide) == 2
    assert "trial 2 could not be trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max-multiply-adds", "1000"], "below the smallest design of the search"),
        (["--model-settings", "{growth_rate: 8}"], "model_settings sets growth_rate, which the search chooses"),
        (["--learning-rate", "1"], "unknown key 'learning_rate'"),
        (["--root", "/nonexistent"], "no split 'train'"),
    ],
)
def test_invalid_requests_are_one_line(
    words: list[str], expected: str, two_color_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(two_color_folders, tmp_path / "search", *words) == 2
    err = capsys.readouterr().err
    assert expected in err and err.count("\n") == 1
