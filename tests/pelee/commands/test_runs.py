"""pelee-runs from the command line: table, JSON lines, plot, errors."""

import json
from pathlib import Path

import cv2
import pytest

from pelee.commands.runs import main


def test_table_shows_model_differing_settings_and_scores(
    scratch_run: Path, tuned_run: Path, running_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(scratch_run.parent)]) == 0
    lines = {line.split()[0]: line for line in reversed(capsys.readouterr().out.splitlines())}
    assert "lr 0.1" in lines["scratch"] and "top-1 37.50" in lines["scratch"] and "80" in lines["scratch"]
    assert "lr 0.01" in lines["tuned"] and "top-1 87.50" in lines["tuned"]
    assert "mAP 50.00" in lines["boxes"] and "50 …" in lines["boxes"]
    assert lines["tuned:"] == "tuned: pelee-train-classifier --lr 0.01 --weights base"


def test_json_writes_one_line_for_each_run(
    scratch_run: Path, running_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(scratch_run), str(running_run), "--json", "-"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["name"] == "scratch" and first["scores"] == [[40, 0.25], [80, 0.375]] and first["finished"]
    assert second["task"] == "detection" and second["settings"]["lr"] == 1 and second["folder"] == str(running_run)
    assert first["pictures_per_second"] is None and "images_per_second" not in first


def test_a_folder_without_a_run_is_one_error_line_and_the_others_are_shown(
    scratch_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), str(scratch_run)]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and "empty is no run" in err and "scratch" in out
    assert main([str(tmp_path / "absent")]) == 2
    assert "absent is no run: it is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["run.json", "model/card.json"])
def test_a_damaged_description_is_one_error_line(
    file: str, scratch_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scratch_run / "model" / "card.json").unlink()
    (scratch_run / file).write_text("{")
    assert main([str(scratch_run)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and file.rpartition("/")[2] in err


@pytest.mark.slow
def test_plot_is_written(scratch_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scratch_run), "--plot", str(tmp_path / "runs.png")]) == 0
    assert cv2.imread(str(tmp_path / "runs.png")).std() > 5
    assert capsys.readouterr().err == f"plot: {tmp_path / 'runs.png'}\n"


def test_a_plot_with_an_unknown_suffix_is_refused(scratch_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scratch_run), "--plot", "runs.jpeg2"]) == 2
    assert "runs.jpeg2: expected a file name that ends in .png" in capsys.readouterr().err
