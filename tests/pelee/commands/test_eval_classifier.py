"""pelee-eval-classifier from the command line, with a classifier of known answers."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pelee.runtime.selection
from pelee.commands.eval_classifier import main
from tests.support.lookup_classifier import gray_image, save_toy, use_session

NAMES = ["ant", "bee"]
ROWS = np.array([[0.75, 0.25], [0.25, 0.75], [0.125, 0.875]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two ants, the first predicted correctly, and a bee, predicted correctly."""
    folder = tmp_path / "data" / "val"
    for name, value in (("ant/0.png", 0), ("ant/1.png", 2), ("bee/2.png", 1)):
        gray_image(folder / name, value)
    return tmp_path / "data"


@pytest.fixture
def options(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    use_session(monkeypatch, ROWS)
    return ["--weights", str(save_toy(tmp_path / "toy", NAMES)), "--dataset", "imagefolder", "--root", str(root)]


@pytest.mark.slow
def test_evaluation_writes_json_table_and_plots(
    options: list[str], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, plots = tmp_path / "new" / "result.json", tmp_path / "plots"
    assert main([*options, "--batch-size", "2", "--json", str(target), "--output", str(plots)]) == 0
    content = json.loads(target.read_text())
    assert content.pop("seconds") >= 0
    assert len(content["model"].pop("sha256")) == 64
    assert content == {
        "model": {"name": "toy"},
        "settings": {"runtime": "a table", "input_size": 8, "batch_size": 2},
        "dataset": "data",
        "split": "val",
        "pictures": 3,
        "top1": pytest.approx(2 / 3),
        "top5": None,
        "calibration_error": pytest.approx((2 * (1 - 0.75) + 0.875) / 3),
        "classes": [
            {"name": "ant", "pictures": 2, "top1": 0.5, "top5": None, "taken_for": [{"name": "bee", "pictures": 1}]},
            {"name": "bee", "pictures": 1, "top1": 1.0, "top5": None, "taken_for": []},
        ],
        "confusion_matrix": [[1, 1], [0, 1]],
        "mistakes": [
            {
                "file": str(root / "val" / "ant" / "1.png"),
                "label": "ant",
                "said": "bee",
                "score": 0.875,
                "label_score": 0.125,
            }
        ],
        "unreadable": [],
    }
    assert {path.name for path in plots.iterdir()} == {"mistakes.png", "confusion_matrix.png"}
    output = capsys.readouterr()
    assert "toy on a table, 8 px\ndata val: top-1 66.67, calibration error 45.8" in output.out
    assert output.err == ""


def test_json_to_stdout_moves_the_table_to_stderr(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "--json", "-"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["pictures"] == 3
    assert "top-1" in output.err


def test_unreadable_images_are_listed_at_the_end(
    options: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "val" / "ant" / "1.png").write_text("not an image")
    assert main(options) == 1
    output = capsys.readouterr()
    assert "top-1 100.00" in output.out
    first, second = output.err.splitlines()
    assert first == "error: images skipped because they cannot be read: 1"
    assert second.startswith("error: ") and "1.png: not an image" in second


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--weights", "pelee-voc"], "pelee-voc: a model for detection"),
        (["--root", "absent"], "no split 'val': absent does not exist"),
        (["--split", "test"], "no split 'test'"),
        (["--json", "."], "--json . is a folder"),
        (["--input-size", "64", "--runtime", "openvino"], "input size 64: only a model's own weights in torch"),
    ],
)
def test_error_is_one_line(
    more: list[str], words: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main([*options, *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1


def test_other_classes_are_one_error_line(options: list[str], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gray_image(root / "val" / "cow" / "0.png", 0)
    assert main(options) == 2
    assert capsys.readouterr().err == (
        "error: the model knows 2 classes, the data set has 3; measure it on data of its own classes\n"
    )


def test_missing_library_is_an_error_before_the_evaluation(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(options) == 0  # the plots alone need it
    monkeypatch.setattr(
        pelee.runtime.selection, "open_session", lambda *args, **keys: pytest.fail("the evaluation started")
    )
    assert main([*options, "--output", str(tmp_path / "plots")]) == 2
    assert "pip install 'pelee[train]'" in capsys.readouterr().err


@pytest.mark.slow
def test_shipped_model_on_a_dataset_of_other_classes(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped classifier has other classes; that is an error before any image is read."""
    (root / "val" / "ant" / "0.png").write_text("not an image")
    monkeypatch.chdir(root.parent)
    options = ["--weights", "peleenet-tiny-imagenet", "--dataset", "imagefolder", "--root", "data"]
    assert main(options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the model knows 200 classes, the data set has 2 (class 0 is ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_mistakes_page_shows_the_images(options: list[str], tmp_path: Path) -> None:
    assert main([*options, "--output", str(tmp_path / "plots")]) == 0
    pixels = np.asarray(Image.open(tmp_path / "plots" / "mistakes.png").convert("RGB"))
    # the mistake is an image of gray level 2: 10 x 6 pixels in a square of 1.45 inches at 140 dpi
    assert (pixels == 2).all(axis=2).sum() == pytest.approx(203 * 203 * 0.6, rel=0.03)
