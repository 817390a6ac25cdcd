"""The classifier's trainer: pictures in folders in, a model folder out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import DatasetError
from data.images import write_image
from pelee.classification.pictures import CachedFolder
from pelee.classification.train import ClassifierSettings, main, random_resized_crop, train_classifier
from weights.store import load_tensors

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (210, 30, 30)}


def make_folders(root: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, colour in COLOURS.items():
            for number in range(count):
                noise = rng.integers(-20, 20, (24, 32, 3))
                write_image(
                    root / split / name / f"{number}.png", (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
                )
    return root


def test_a_crop_keeps_size_and_colour_and_shows_a_part():
    gradient = torch.linspace(0, 255, 64).expand(8, 3, 64, 64)
    torch.manual_seed(0)
    crops = random_resized_crop(gradient, 32, 0.25)
    assert crops.shape == (8, 3, 32, 32)
    assert crops.min() >= 0 and crops.max() <= 255
    spans = crops.amax((1, 2, 3)) - crops.amin((1, 2, 3))
    # at least a quarter of the area at a ratio of 3/4 at the least: sqrt(0.25 * 3/4) = 0.43 of the width
    assert (spans > 0.40 * 255).all() and (spans < 255).any()
    rising = crops[:, 0, 0, -1] > crops[:, 0, 0, 0]
    assert rising.any() and not rising.all()  # some are mirrored


def test_the_folder_is_cached_warped_and_labelled_by_name(tmp_path):
    pictures = CachedFolder(make_folders(tmp_path, 2) / "train", 16)
    assert pictures.class_names == ["blue", "green", "red"]
    assert len(pictures) == 6
    images, labels = pictures.__getitems__([0, 3, 5])
    assert images.shape == (3, 3, 16, 16) and images.dtype == torch.uint8
    assert labels.tolist() == [0, 1, 2]
    for image, colour in zip(images, COLOURS.values(), strict=True):
        assert torch.allclose(image.float().mean((1, 2)), torch.tensor(colour).float(), atol=8)


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="has no folder of pictures a class"):
        CachedFolder(tmp_path, 16)


def test_a_class_without_a_picture_is_named(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match=r"cat has no picture"):
        CachedFolder(tmp_path, 16)


def test_it_learns_three_colours_and_writes_a_model(tmp_path):
    settings = ClassifierSettings(
        input_sizes=((32, 6), (48, 4)),
        picture_size=32,
        batch_size=8,
        lr=0.02,
        warmup_steps=2,
        ema_decay=0.5,
        precision="fp32",
    )
    root = make_folders(tmp_path / "colours", 16)
    model = train_classifier(root, tmp_path / "out", settings)
    scores = {score["metric"]: score["value"] for score in model.card.scores}
    assert scores["top1"] > 90
    assert model.card.class_names == ["blue", "green", "red"]
    assert model.card.input_size == 48
    assert model.card.training["settings"]["input_sizes"] == ((32, 6), (48, 4))
    assert load_tensors(model)["classifier.1.weight"].shape == (3, 704)


def test_the_command_tells_a_missing_folder_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "absent"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and "absent" in error
