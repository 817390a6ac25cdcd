"""pelee-train-classifier from the command line: training, resumption, fine-tuning, distillation, errors."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.images.image_io import write_image
from tests.support.classifier_command import train_quickly
from tests.support.color_folders import make_folders
from tests.support.tiny_training import Stop, save_teacher, watch
from weights.store import load_tensors, resolve


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("data") / "colors")


@pytest.fixture(scope="module")
def trained(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    assert train_quickly(folders, output, "--name", "three-colors") == 0
    return output


@pytest.mark.slow
def test_training_learns_three_colors_and_writes_a_model(trained: Path) -> None:
    model = resolve(trained / "model")
    scores = {score["metric"]: score["value"] for score in model.card.scores}
    assert scores["top1"] > 90 and scores["top5"] == 100
    assert model.card.name == "three-colors" and model.card.architecture == "peleenet"
    assert model.card.class_names == ["blue", "green", "red"] and model.card.input_size == 48
    assert model.card.training["settings"]["size_phases"] == [[32, 0.6]]
    assert load_tensors(model)["classifier.1.weight"].shape == (3, 704)


@pytest.mark.slow
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(folders: Path, tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    words = ["--epochs", "5", "--validate-every", "1", "--checkpoint-every", "5"]  # 30 steps, 18 of smaller images
    assert train_quickly(folders, straight, *words) == 0
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        watch(patch, stop_at=12)
        train_quickly(folders, resumed, *words)
    assert train_quickly(folders, resumed, *words, "--resume") == 0
    expected = load_tensors(resolve(straight / "model"))
    for name, tensor in load_tensors(resolve(resumed / "model")).items():
        assert np.array_equal(tensor, expected[name]), name


@pytest.mark.slow
def test_resume_with_other_settings_is_refused(folders: Path, trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert train_quickly(folders, trained, "--resume", "--mixup", "0.2") == 2
    assert "begun with mixup 0.0 and cannot go on with 0.2" in capsys.readouterr().err


@pytest.mark.slow
def test_earlier_run_is_not_overwritten(folders: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "last.ckpt").stat().st_mtime_ns
    assert train_quickly(folders, trained) == 2
    assert "holds an earlier run; continue it with --resume" in capsys.readouterr().err
    assert (trained / "last.ckpt").stat().st_mtime_ns == before


@pytest.mark.slow
def test_unreadable_images_are_listed_at_the_start_and_counted_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folders(tmp_path / "set", 4)
    for split in ("train", "val"):
        (root / split / "red" / "2.png").write_bytes(b"not an image")
    assert train_quickly(root, tmp_path / "out", "--strict") == 2
    assert "of 12 images are missing or cannot be read" in capsys.readouterr().err
    assert train_quickly(root, tmp_path / "out", "--epochs", "1") == 1
    printed = capsys.readouterr()
    assert printed.out.count("note: 1 images cannot be read and are left out:") == 2  # before the training
    assert "2 images could not be read" in printed.err
    assert printed.err.count("2.png") == 2
    assert resolve(tmp_path / "out" / "model").card.scores[0]["pictures"] == 11


@pytest.mark.slow
def test_fine_tuning_matches_classes_by_name(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folders(tmp_path / "set", 4)
    for split in ("train", "val"):
        write_image(root / split / "white" / "a.png", np.full((8, 8, 3), 250, np.uint8))
    assert train_quickly(root, tmp_path / "out", "--epochs", "1", "--weights", str(trained / "model")) == 0
    output = capsys.readouterr().out
    assert "matched by name: 3 in both (blue, green, red)\n1 of the dataset only (white)\n" in output
    assert resolve(tmp_path / "out" / "model").card.training["started_from"].startswith("three-colors, SHA-256")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher"))


@pytest.mark.slow
def test_teacher_logits_are_computed_once_and_its_head_is_dropped(folders: Path, teacher: Path, tmp_path: Path) -> None:
    words = ["--teacher", str(teacher), "--teacher-model", "mobilenet_v3_small", "--teacher-size", "32"]
    assert train_quickly(folders, tmp_path, "--epochs", "1", *words) == 0
    names = set(load_tensors(resolve(tmp_path / "model")))
    assert not any("student_head" in name for name in names) and "classifier.1.weight" in names
    kept = (tmp_path / "teacher.safetensors").stat()
    (tmp_path / "last.ckpt").unlink()
    shutil.rmtree(tmp_path / "model")
    assert train_quickly(folders, tmp_path, "--epochs", "1", *words, "--lr", "0.01") == 0
    assert (tmp_path / "teacher.safetensors").stat().st_mtime_ns == kept.st_mtime_ns  # computed once


@pytest.mark.parametrize("case", ["absent", "no split", "no classes", "empty class"])
def test_invalid_folder_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    expected = {
        "absent": "does not exist",
        "no split": "has cats; expected",
        "no classes": "has no folder of images a class",
        "empty class": "cat has no image in it",
    }
    folder = {"no split": root / "cats", "no classes": root / "train", "empty class": root / "train" / "cat"}
    if case in folder:
        folder[case].mkdir(parents=True)
    assert train_quickly(root, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and expected[case] in error


@pytest.mark.slow
def test_splits_of_other_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folders(tmp_path / "set", 3)
    write_image(tmp_path / "set" / "val" / "white" / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert train_quickly(tmp_path / "set", tmp_path / "out") == 2
    assert "has 4 classes, train 3; they must be the same, and 'white'" in capsys.readouterr().err
    (tmp_path / "set" / "val" / "white").rename(tmp_path / "set" / "val" / "Red")
    shutil.rmtree(tmp_path / "set" / "val" / "red")
    assert train_quickly(tmp_path / "set", tmp_path / "out") == 2
    assert "is 'Red' of val the class 'red' of train? If so, write both alike" in capsys.readouterr().out


@pytest.mark.slow
def test_a_validation_split_may_lack_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folders(tmp_path / "set", 3)
    shutil.rmtree(root / "val" / "green")
    assert train_quickly(root, tmp_path / "out", "--epochs", "1") == 0
    out = capsys.readouterr().out
    assert "val: 6 images, 3 classes" in out
    assert "classes of val and train are matched by name: 2 in both (blue, red)\n  note: 1 of train only (green)" in out
