"""`pelee-data statistics` and `pelee-data prepare`."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from data.classification.image_folder import open_image_folder
from data.commands import data as cli
from data.images.image_io import write_image
from tests.support.stanford_cars_files import NAMES, list_files, official


def test_the_command_prints_what_goes_into_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    for place, image in enumerate(images):
        write_image(tmp_path / "train" / "ab"[place % 2] / f"{place}.png", image)
    options = ["statistics", "--dataset", "cifar10", "--root", str(tmp_path)]
    assert cli.main(options) == 0
    recipe = yaml.safe_load(capsys.readouterr().out)
    assert recipe["normalization"]["mean"] == pytest.approx(images.mean((0, 1, 2)), abs=6e-4)
    assert recipe["normalization"]["std"] == pytest.approx(images.std((0, 1, 2)), abs=6e-4)

    (tmp_path / "train" / "a" / "0.png").write_bytes(b"no image")
    assert cli.main([*options, "--grey"]) == 1
    out, err = capsys.readouterr()
    recipe = yaml.safe_load(out)
    assert recipe["grey"] is True and len(set(recipe["normalization"]["mean"])) == 1
    assert "3 images at 32×32" in out and err.count("\n") == 2 and "0.png" in err


def test_statistics_see_the_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["statistics", "--dataset", "cars", "--root", str(official(tmp_path)), "--size", "16"]
    reds = []
    for more in ([], ["--crop-to-box"]):
        assert cli.main([*options, *more]) == 0
        reds.append(yaml.safe_load(capsys.readouterr().out)["normalization"]["mean"][0])
    assert reds[0] < 150 < 185 < reds[1]  # boxes are red, what is around them is blue


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--size", "0"], "--size is 0; expected a side in pixels from 1"),
        (["--box-margin", "-1"], "--box-margin is -1.0"),
        (["--split", "all"], "no split 'all' of cars"),
    ],
)
def test_an_error_is_one_line(more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["statistics", "--dataset", "cars", "--root", str(tmp_path), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {words}") and error.count("\n") == 1


def test_cars_become_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, output = official(tmp_path / "cars"), tmp_path / "out"
    assert cli.main(["prepare", "cars", "--root", str(root), "--output", str(output)]) == 0
    assert "train 4 images, test 4 images" in capsys.readouterr().out
    hummer, ram, smart = (name.replace("/", "-") for name in NAMES)
    wanted = [f"{hummer}/00001.jpg", f"{hummer}/00004.jpg", f"{ram}/00002.jpg", f"{smart}/00003.jpg"]
    assert list_files(output) == sorted(f"{split}/{name}" for split in ("train", "test") for name in wanted)
    copied = (output / "test" / ram / "00002.jpg").read_bytes()
    assert copied == (root / "cars_test" / "00002.jpg").read_bytes()
    assert open_image_folder("imagefolder", output, "train").labels.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("case", ["damaged", "another", "leads out"])
def test_an_archive_that_is_none_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.txt").write_text("x")
    archive = tmp_path / "car_devkit.tgz"
    if case == "damaged":
        archive.write_bytes(b"no archive")
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "x.txt", "x.txt" if case == "another" else "../x.txt")
    assert cli.main(["prepare", "cars", "--root", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "car_devkit.tgz" in error and error.count("\n") == 1
    assert not (tmp_path / "devkit").exists() and not (tmp_path / "out").exists()


def test_an_image_whose_box_is_outside_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, output = official(tmp_path / "cars"), tmp_path / "out"
    Image.new("RGB", (8, 4)).save(root / "cars_train" / "00002.jpg")  # its box begins at (10, 5)
    assert cli.main(["prepare", "cars", "--root", str(root), "--output", str(output), "--crop-to-box"]) == 1
    out, err = capsys.readouterr()
    assert "train 3 images, test 4 images" in out
    assert err.splitlines()[0] == "error: images that could not be read and were skipped: 1"
    assert "00002.jpg: the box 10, 5, 30, 25 has no pixel of the image of 8×4" in err
    assert len(list_files(output)) == 7
