"""The Stanford Cars study in small: training on object crops, evaluation with the same crops."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.classification.image_folder import open_image_folder
from detection.commands import export as export_cli
from pelee.classification.training.dataset import ImageBatches
from pelee.commands import eval_classifier as eval_cli
from pelee.commands import train_classifier as train_cli
from tests.support.lookup_classifier import save_toy, use_session
from tests.support.stanford_cars_files import INSIDE, NAMES, official
from weights.card import Card
from weights.store import load_tensors, resolve, save_model

QUICK = ["--epochs", "1", "--batch-size", "8", "--picture-size", "32", "--input-size", "32", "--precision", "fp32"]
QUICK += ["--size-phases", "[]", "--no-export"]
QUICK += ["--model-settings", '{"blocks": [1, 1, 1, 1], "growth_rate": 8, "stem_channels": 8}']
STUDY = ["--crop-to-box", "true", "--box-margin", "0.1", "--erase-background", "true", "--grey", "true"]
STUDY += ["--normalization", "data", "--erasing", "0.2", "--transforms", "[scale, rotate, shear, colour-jitter]"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official(tmp_path_factory.mktemp("cars"), count=12)


@pytest.mark.slow
def test_training_and_evaluation_crop_to_the_boxes(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--dataset", "cars", "--root", str(root)]
    output = tmp_path / "out"
    assert train_cli.main([*data, "--output", str(output), *QUICK, *STUDY]) == 0
    card = resolve(output / "model").card
    assert card.class_names == list(NAMES)
    trained = {key: card.training["settings"][key] for key in ("crop_to_box", "box_margin", "erase_background")}
    assert trained == {"crop_to_box": True, "box_margin": 0.1, "erase_background": True}
    capsys.readouterr()

    target = tmp_path / "result.json"
    words = ["--weights", str(output / "model"), "--runtime", "torch", "--json", str(target)]
    assert eval_cli.main([*words, *data, "--output", str(tmp_path / "plots")]) == 0
    assert "32 px, cropped to the box (margin 0.1) and background erased\n" in capsys.readouterr().out
    found = json.loads(target.read_text())
    assert found["split"] == "test" and found["settings"]["crop_to_box"] is True
    assert [row["name"] for row in found["classes"]] == list(NAMES)
    # The scores of the trainer's last validation are those of the evaluation.
    (top1,) = (score["value"] for score in card.scores if score["metric"] == "top1")
    assert 100 * found["top1"] == pytest.approx(top1, abs=0.01)
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"mistakes.png", "confusion_matrix.png"}

    exported = ["--weights", str(output / "model"), "--format", "torchscript", "--output", str(tmp_path / "exported")]
    assert export_cli.main([*exported, *data, "--split", "test"]) == 0
    report = json.loads((tmp_path / "exported" / "export.json").read_text())["verification"]
    assert report["top1_reference"] == pytest.approx(top1, abs=0.01)


def test_batches_are_cropped(root: Path) -> None:
    from data.classification.object_crop import ObjectCrop

    boxes = ImageBatches(open_image_folder("cars", root, "train", ObjectCrop(crop_to_box=True)), 16)
    whole = ImageBatches(open_image_folder("cars", root, "train"), 16)
    inside = boxes[0, [1]].images[0].float().mean((1, 2))
    assert np.allclose(inside, INSIDE, atol=20)  # JPEG mixes the colours at the edges
    assert whole[0, [1]].images[0, 2].float().mean() > 120, "blue around the box"


@pytest.mark.parametrize("cropped", [False, True])
def test_evaluation_uses_the_crop_of_the_card(
    cropped: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier with answers by the red channel of the corner: inside the box, or outside of it."""
    rows = np.tile([0.9, 0.05, 0.05], (256, 1))
    rows[100:] = [0.05, 0.9, 0.05]  # the box is red: class 1
    use_session(monkeypatch, rows)
    model = resolve(save_toy(tmp_path / "toy", list(NAMES)))
    training = model.card.training | {"settings": {"crop_to_box": cropped}}
    card = Card(name="toy", task="classification", architecture="peleenet", class_names=list(NAMES), input_size=8,
                training=training)  # fmt: skip
    folder = save_model(tmp_path / "looks", load_tensors(model), card).path.parent
    words = ["--weights", str(folder), "--dataset", "cars", "--root", str(root), "--json", "-"]
    assert eval_cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    predicted = np.array(found["confusion_matrix"]).sum(0).tolist()
    # One of every four boxes is the whole image, whose corner is red in either case.
    assert predicted == ([0, 12, 0] if cropped else [9, 3, 0])


def test_crop_of_a_dataset_without_boxes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "imagefolder", "--root", str(tmp_path), "--output", str(tmp_path / "out"), *QUICK]
    assert train_cli.main([*words, "--erase-background", "true"]) == 2
    error = capsys.readouterr().err
    assert error == "error: erase_background needs boxes, and imagefolder has none; it is for cars, or leave it out\n"
