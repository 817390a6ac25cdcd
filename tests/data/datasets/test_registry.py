"""The registry of dataset formats: its rows, and a format that is added from outside."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from data.commands import data as pelee_data
from data.datasets.registry import FORMATS, DatasetFormat, dataset_formats, find_format, open_dataset
from data.errors import DatasetError, SettingsError
from detection.commands.eval import main as pelee_eval
from detection.training.settings import resolve_settings
from tests.support.dataset_records import make_image
from tests.support.paths import SAMPLES

# One file: a reader of lines "image class x0 y0 x1 y1".
READER = """
from pathlib import Path

from data.datasets.record_builder import build_record
from data.datasets.records import Dataset


def read_lines(root: Path, split: str) -> Dataset:
    records, warnings = [], []
    for line in (root / f"{split}.lines").read_text().splitlines():
        name, label, *box = line.split()
        records.append(build_record(root / name, name, [[float(side) for side in box]], [int(label)], size=None,
                                    where=name, warnings=warnings))
    return Dataset("lines", split, ("thing",), records, warnings)
"""
# And one row.
LINES = DatasetFormat(
    name="lines",
    reader="lines_reader:read_lines",
    help="a line a box",
    root="the folder of the .lines files",
    train_split="learn",
    val_split="measure",
)


@pytest.fixture
def lines_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The format `lines`, registered, and a dataset in it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "lines_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.setitem(FORMATS, "lines", LINES)
    root = tmp_path / "set"
    root.mkdir()
    sample = sorted(SAMPLES.glob("*.jpg"))[0]
    (root / sample.name).write_bytes(sample.read_bytes())
    (root / "learn.lines").write_text(f"{sample.name} 0 1 2 30 40\n")
    return root


def test_a_format_from_outside_is_one_file_and_one_row(lines_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = open_dataset("lines", lines_root, "learn")
    assert dataset.records[0].boxes.tolist() == [[1, 2, 30, 40]]
    assert pelee_data.main(["check", "--dataset", "lines", "--root", str(lines_root)]) == 0
    assert capsys.readouterr().out.startswith("lines learn: 1 ")


def test_commands_take_choices_defaults_and_help_from_the_row(
    lines_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "lines" in dataset_formats()
    settings = resolve_settings(None, {}, "lines")
    assert (settings.train_split, settings.val_split) == ("learn", "measure")
    with pytest.raises(SystemExit) as stopped:
        pelee_eval(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "lines: a line a box" in text
    assert "lines: the folder of the .lines files" in text
    assert "lines measure" in text


@pytest.mark.parametrize("name", dataset_formats(annotated=False))
def test_every_row_names_a_reader(name: str) -> None:
    module, _, function = find_format(name).reader.partition(":")
    assert callable(getattr(import_module(module), function))
    assert find_format(name).name == name


def test_only_formats_with_boxes_can_be_trained_on() -> None:
    assert dataset_formats() == ("voc", "coco", "yolo", "packed", "packed-in-memory")
    assert dataset_formats(annotated=False) == ("voc", "coco", "yolo", "packed", "packed-in-memory", "folder")


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown dataset format 'imagenet'; there are voc, coco, yolo, packed"):
        open_dataset("imagenet", tmp_path, "all")


@pytest.mark.parametrize("name", dataset_formats(annotated=False))
def test_a_root_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        open_dataset(name, tmp_path / "nowhere", "all")


def test_the_registry_is_light() -> None:
    code = "import sys, data.datasets.registry; print([m for m in ('numpy', 'cv2', 'PIL', 'yaml') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "places"), [("coco", "annotations/instances_{}.json"), ("voc", "ImageSets/Main/{}.txt")]
)
def test_a_default_split_falls_back_to_the_dataset_s_own(tmp_path: Path, name: str, places: str) -> None:
    folder = tmp_path / {"coco": "images", "voc": "JPEGImages"}[name]
    (tmp_path / "Annotations").mkdir()
    folder.mkdir()
    entry = find_format(name)
    for image, split in (("a", "train"), ("b", "val")):
        make_image(folder / f"{image}.jpg")
        (tmp_path / "Annotations" / f"{image}.xml").write_text("<annotation/>")
        content = {
            "images": [{"id": 1, "file_name": f"{image}.jpg"}],
            "annotations": [],
            "categories": [{"id": 1, "name": "x"}],
        }
        file = tmp_path / places.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content) if name == "coco" else f"{image}\n")
    defaults = {entry.train_split: "train", entry.val_split: "val", entry.tuning_split or entry.val_split: "val"}
    for split, own in defaults.items():
        dataset = open_dataset(name, tmp_path, split)
        assert dataset.split == own and dataset.warnings[0].startswith(f"no split {split!r}, {own!r} is used")
        assert open_dataset(name, tmp_path, own).warnings == dataset.warnings[1:]
    with pytest.raises(DatasetError, match="no split 'other'"):
        open_dataset(name, tmp_path, "other")


def test_a_dataset_of_one_split_is_told_how_to_get_a_second_one(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    make_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [x]\n")
    with pytest.raises(DatasetError, match=r"no split 'val'; there are train; pelee-data split divides train$"):
        open_dataset("yolo", tmp_path, "val")
    with pytest.raises(DatasetError, match=r"no split 'test'; there are train$"):
        open_dataset("yolo", tmp_path, "test")
