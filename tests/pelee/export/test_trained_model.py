"""Exports at the end of a training: images, calibration, failures; those of a tiny classifier run without torch."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from data.images.image_slice import ImageFile
from detection.export.export import write_trained
from pelee.classification.classifier import Classifier
from pelee.classification.export import LIMITS
from pelee.commands.train_classifier import main
from pelee.export import trained_model
from pelee.export.calibration import Calibration
from pelee.export.trained_model import ExportPlan, export_trained
from pelee.runtime.session import RuntimeOptions
from pelee.runtime.slow_way import slow_way
from tests.support import tiny_classifier, tiny_detector
from tests.support.color_folders import make_folders
from tests.support.paths import ROOT
from weights.store import ModelFile, find_exports, resolve

LIGHT = """
import sys
sys.modules["torch"] = None
from pelee.commands.classify import main
sys.exit(main(sys.argv[1:]))
"""
TRAINING = ["--epochs", "12", "--batch-size", "8", "--lr", "0.02", "--precision", "fp32", "--picture-size", "32"]
TRAINING += ["--input-size", "32", "--size-phases", "[]", "--accelerator", "cpu"]
TRAINING += ["--model-settings", '{"blocks": [1, 1, 1, 1], "growth_rate": 8, "stem_channels": 8}']


def test_a_failed_export_is_a_result_and_unreadable_images_are_left_out(tmp_path: Path) -> None:
    model = tiny_classifier.save_small(tmp_path / "model")
    images = sorted(tiny_detector.save_pictures(tmp_path / "images", 4).iterdir())
    images[1].write_bytes(b"no image")
    seen: list[tuple[str, int, int]] = []

    def write(
        source: ModelFile, folder: Path, form: str, compared: Sequence[ImageFile], calibration: Calibration | None
    ) -> ModelFile:
        if calibration is None:
            raise RuntimeError("the first reason\nand its stack")
        seen.append((calibration.source, len(calibration.images), len(compared)))
        assert calibration.images[0].shape == (model.card.input_size, model.card.input_size, 3)
        return source

    results = list(export_trained(model, ExportPlan(write, images, "colors train", images[:2])))
    assert [(one.precision, one.folder.name, one.problem) for one in results] == [
        ("f32", "openvino-f32", "the first reason"),
        ("int8", "openvino-int8", ""),
    ]
    assert seen == [("colors train", 3, 1)]


@pytest.mark.slow
def test_a_detector_runs_in_its_exports_of_the_training(tmp_path: Path) -> None:
    model = tiny_detector.save_small(tmp_path / "model")
    images = sorted(tiny_detector.save_pictures(tmp_path / "images", 12).iterdir())
    results = list(export_trained(model, ExportPlan(write_trained, images, "shapes train", images)))
    assert [one.problem for one in results][:1] == [""]
    made = {one.export.precision: one.export for one in find_exports(model) if one.export is not None}
    assert not made["f32"].nms and made["f32"].verification["agreement"] >= 0.99


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("quiet_lightning")
def test_a_training_ends_with_exports_that_run_without_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a CPU without VNNI, int8 sums saturate, and a network of twelve epochs differs by more than the limit.
    monkeypatch.setitem(LIMITS, "int8", LIMITS["int8"]._replace(difference=0.3))
    root = make_folders(tmp_path / "colors")
    words = ["--dataset", "imagefolder", "--root", str(root), *TRAINING]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    folder = tmp_path / "run" / "model"
    assert f"OpenVINO int8 export: {folder / 'openvino-int8'}\n" in capsys.readouterr().out
    exports = {one.export.precision: one.export for one in find_exports(resolve(folder)) if one.export}
    assert exports["int8"].settings["calibration"]["source"] == "colors train"
    assert exports["f32"].verification["pictures"] == 48
    image = next((root / "val").rglob("*.png"))
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(image), "--weights", str(tmp_path / "run"), "--json", "-"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and json.loads(done.stdout)["classes"][0]["label"] == image.parent.name, done.stderr
    assert "openvino int8 CPU" in done.stderr and "slower" not in done.stderr

    # A run without the extra, or with --no-export, leaves a model that says how to make it fast.
    monkeypatch.setattr(trained_model, "PACKAGES", ("no_such_package",))
    assert main([*words, "--epochs", "1", "--output", str(tmp_path / "bare")]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: no OpenVINO export")]
    assert "no_such_package not installed; pip install 'pelee[export]'" in note
    bare = tmp_path / "bare" / "model"
    assert not find_exports(resolve(bare))
    hint = slow_way(bare, Classifier.load(bare).runtime, RuntimeOptions())
    assert hint is not None and f"pelee-export --weights {bare} --format openvino --int8" in hint
