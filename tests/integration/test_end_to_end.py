"""The whole way of one's own data: train, measure, build a wheel, install it, detect from anywhere."""

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import SHAPES, TrainedRun
from tests.support.paths import ROOT
from tests.support.wheel import run

# Lightning's advice on loaders, log intervals, full folders is left out.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.slow
def test_a_trained_model_is_measured(voc_root: Path, trained_run: TrainedRun, tmp_path: Path) -> None:
    from detection.commands.eval import main

    model = trained_run.output / "model"
    target = tmp_path / "result.json"
    options = ["--dataset", "voc", "--root", str(voc_root), "--split", "val", "--weights", str(model)]
    assert main([*options, "--json", str(target)]) == 0
    result = json.loads(target.read_text())
    card = json.loads((model / "card.json").read_text())
    assert result["model"] == {"name": "shapes", "sha256": card["sha256"]}
    assert result["pictures"] == 4
    assert [row["name"] for row in result["classes"]] == list(SHAPES)
    assert result["warnings"] == []
    # What training found with the same weights, but for their rounding to float16.
    assert 100 * result["voc"]["map_11point"] == pytest.approx(card["scores"][0]["value"], abs=1)


def test_the_wheel_holds_the_packages_and_what_they_read(installed: Path) -> None:
    for folder in ("detection/training/recipes", "pelee/classification/training/recipes"):
        recipes = {path.name for path in (ROOT / folder).glob("*.yaml")}
        assert recipes and {path.name for path in (installed / folder).glob("*.yaml")} == recipes
    for card in (ROOT / "weights").glob("*/card.json"):
        copied = installed / "weights" / card.parent.name
        assert (copied / "card.json").is_file()
        assert (copied / json.loads(card.read_text())["file"]).is_file()
    top = {path.name for path in installed.iterdir() if path.is_dir() and path.suffix != ".dist-info"}
    assert top == {"bin", "data", "weights", "pelee", "detection", "serve"}


@pytest.mark.slow
def test_an_installed_command_works_beside_a_package_of_another_kind_named_data(
    installed: Path, trained_run: TrainedRun, voc_root: Path, tmp_path: Path
) -> None:
    """The common name `data` of one of ours must not meet the `data` of the folder that a user works in."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("raise RuntimeError('the wrong data')\n")
    picture = voc_root / "VOC2007" / "JPEGImages" / "000008.jpg"

    # A console script puts its own folder on sys.path, where `python -m` would put the current one; -P puts neither.
    places = run(
        [sys.executable, "-P", "-c", "import data, detection; print(data.__file__, detection.__file__)"],
        tmp_path,
        PYTHONPATH=str(installed),
    )
    assert places.split() == [str(installed / name / "__init__.py") for name in ("data", "detection")]
    command: list[str | Path] = [sys.executable, installed / "bin" / "pelee-detect", picture]
    command += ["--weights", trained_run.output / "model", "--conf", "0.02", "--json", "-"]
    lines = run(command, tmp_path, PYTHONPATH=str(installed)).splitlines()

    (line,) = [json.loads(line) for line in lines]
    assert list(line) == ["source", "frame", "width", "height", "detections"]
    assert (Path(line["source"]).name, line["frame"], line["width"], line["height"]) == ("000008.jpg", 0, 120, 90)
    assert line["detections"], "a network that was hardly trained is sure of nothing, but says something at 0.02"
    for detection in line["detections"]:
        assert SHAPES[detection["class_id"]] == detection["label"]
        assert 0.02 < detection["score"] <= 1
        x1, y1, x2, y2 = detection["box"]
        assert 0 <= x1 <= x2 <= 120
        assert 0 <= y1 <= y2 <= 90
