"""pelee-train from the command line: the model that it leaves, and one line for whatever is wrong."""

import csv
import errno
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data.images.image_io import write_image
from detection.commands.train import TASK, main
from detection.detector import Detector
from detection.evaluation.f1_threshold import BestF1
from detection.evaluation.voc_ap import VocResult
from detection.training.lightning_module import DetectorModule
from detection.training.settings import resolve_settings
from pelee.models.peleenet import PeleeNet
from pelee.training.recipes import to_plain
from pelee.training.trainer import to_tensors
from tests.conftest import SHAPES, TrainedRun
from tests.support.paths import ROOT
from weights.card import Card
from weights.store import load_tensors, resolve, save_model

# Lightning's advice on loaders, log intervals and full folders is not what is tested.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet_lightning")]

#: One step of the whole network that leaves every convolution where it was, to four decimals and more.
ONE_STEP = ["--epochs", "1", "--max-steps", "1", "--lr", "1e-9", "--batch-size", "4", "--input-size", "64"]
ONE_STEP += ["--precision", "fp32", "--accelerator", "cpu", "--no-export"]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that fails as it should says."""
    assert main([str(argument) for argument in arguments]) == 2
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert stderr.endswith(line + "\n")
    return line.removeprefix("error: ")


def on_voc(root: Path, output: Path) -> list[str | Path]:
    """The flags of a run on the tiny devkit."""
    return ["--dataset", "voc", "--root", root, "--output", output, "--val-split", "val"]


def metrics(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "logs" / "metrics.csv").read_text().splitlines()))


# What a run leaves


@pytest.mark.slow
def test_the_card_tells_how_the_model_came_about(trained_run: TrainedRun) -> None:
    card = resolve(trained_run.output / "model").card
    assert (card.name, card.task, card.architecture, card.input_size) == ("shapes", "detection", "pelee", 64)
    assert tuple(card.class_names) == SHAPES
    training = card.training
    assert training["command"].startswith("pelee-train --dataset voc --root ")
    assert "--size-phases=[]" in training["command"].replace("'", "")
    assert training["data"] == "voc trainval: 8 images, 10 objects"
    assert training["started_from"] is None
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--verify", "--short=12", "HEAD"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    assert training["commit"].removesuffix("-dirty").endswith(commit or "unknown")

    overrides = {"val_split": "val", "batch_size": 4, "input_size": 64, "epochs": 6, "max_steps": 10}
    overrides |= {"size_phases": [], "precision": "fp32", "validate_every": 2}
    assert training["settings"] == json.loads(json.dumps(to_plain(resolve_settings("quick", overrides, "voc"))))


@pytest.mark.slow
def test_the_score_on_the_card_is_the_best_that_was_logged(trained_run: TrainedRun) -> None:
    (score,) = resolve(trained_run.output / "model").card.scores
    logged = [float(row["val/mAP"]) for row in metrics(trained_run.output) if row["val/mAP"]]
    assert len(logged) == 3  # after epochs 2 and 4, and at the end, in the fifth
    assert score["value"] == round(100 * max(logged), 2)
    assert (score["metric"], score["split"], score["pictures"]) == ("mAP 11-point", "val", 4)
    assert f"mAP {score['value']} on val" in trained_run.stdout


@pytest.mark.slow
def test_the_run_says_what_it_saw_and_what_comes_next(trained_run: TrainedRun) -> None:
    assert "voc trainval: 8 images, 3 classes\nvoc val: 4 images, 3 classes\n" in trained_run.stdout
    assert f"try it: pelee-detect IMAGE --weights {trained_run.output / 'model'}" in trained_run.stdout


@pytest.mark.slow
def test_the_card_has_the_confidence_of_the_best_f1(
    voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was measured last, whatever that is; a network that found nothing leaves the default."""
    measured: list[VocResult] = []

    def best_f1(result: VocResult) -> BestF1:
        measured.append(result)
        return BestF1(0.42, f1[len(measured) - 1], np.zeros(3), np.zeros(3))

    f1 = [0.5, 0.0]
    exported: list[tuple[str, str, str | None]] = []
    monkeypatch.setattr("detection.evaluation.f1_threshold.best_f1", best_f1)
    monkeypatch.setattr(
        "detection.export.export.write_trained",
        lambda model, folder, form, images, calibration: exported.append(
            (model.card.name, folder.name, calibration and calibration.source)
        ),
    )
    one_step = [word for word in ONE_STEP if word != "--no-export"]
    for name, wanted, code in (("found", 0.42, 0), ("nothing", 0.3, 1)):
        assert main([str(word) for word in (*on_voc(voc_root, tmp_path / name), *one_step)]) == code
        card = resolve(tmp_path / name / "model").card
        assert card.default_confidence == wanted
        printed = capsys.readouterr()
        assert f"default score threshold {wanted}, " in printed.out
        assert ("try it: " in printed.out) == (code == 0)
        assert ("warning: the model finds no object of val" in printed.err) == (code == 1)
        assert card.scores[0]["value"] == round(100 * measured[-1].map_11point, 2)
    assert exported == [("found", "openvino-f32", None), ("found", "openvino-int8", "voc trainval")]


@pytest.mark.slow
def test_the_model_loads_as_a_detector_with_the_averaged_weights(trained_run: TrainedRun) -> None:
    import torch

    detector = Detector.load(trained_run.output / "model")
    assert detector.class_names == SHAPES
    assert detector.input_size == 64
    *earlier, last = [float(row["val/mAP"]) for row in metrics(trained_run.output) if row["val/mAP"]]
    checkpoint = "last.ckpt" if last > max(earlier) else "best.ckpt"
    best = torch.load(trained_run.output / checkpoint, weights_only=True)
    stored = load_tensors(resolve(trained_run.output / "model"))
    assert {f"network.{name}" for name in stored} == set(best["state_dict"])
    for name, tensor in stored.items():
        wanted = best["state_dict"][f"network.{name}"].numpy()
        np.testing.assert_allclose(tensor, wanted, rtol=1e-3, atol=1e-6)  # float16's precision


@pytest.mark.slow
def test_it_is_interrupted_and_resumed(
    voc_root: Path, trained_run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The same run as the fixture's, stopped by ctrl-C in its fourth epoch, ends with the same file."""
    import torch

    command = resolve(trained_run.output / "model").card.training["command"].replace("'", "").split()[1:]
    command[command.index("--output") + 1] = str(tmp_path / "shapes")
    original = DetectorModule.training_step

    def step(self: DetectorModule, *args: Any) -> Any:
        if self.trainer.global_step == 7:
            raise KeyboardInterrupt
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(DetectorModule, "training_step", step)
        assert main(command) == 130
    output = str(tmp_path / "shapes")
    assert capsys.readouterr().err.endswith(f"go on with: pelee-train --output {output} --resume\ninterrupted\n")
    assert not (tmp_path / "shapes" / "model").exists()

    assert main(["--finish", output]) in (0, 1)  # of no use after so few steps, perhaps
    finished = load_tensors(resolve(tmp_path / "shapes" / "model"))
    scores = dict(re.findall(r"^(best.ckpt|last.ckpt): step \d, val/mAP (\S+)", capsys.readouterr().out, re.MULTILINE))
    better = max(scores, key=lambda file: float(scores[file]))  # the first of equal ones
    assert list(scores) == ["best.ckpt", "last.ckpt"]
    kept = torch.load(tmp_path / "shapes" / better, weights_only=True)["state_dict"]
    name = "heads.0.classify.weight"
    np.testing.assert_allclose(finished[name], kept[f"network.{name}"].numpy(), rtol=1e-3, atol=1e-6)

    monkeypatch.chdir(tmp_path)
    assert main(["--output", "shapes", "--resume"]) in (0, 1)
    resumed, whole = (load_tensors(resolve(folder / "model")) for folder in (tmp_path / "shapes", trained_run.output))
    for name, tensor in whole.items():
        np.testing.assert_allclose(resumed[name], tensor, rtol=0, atol=1e-6, err_msg=name)


# Starting from other weights


@pytest.mark.slow
def test_other_classes_take_the_rows_of_their_names_and_say_so(
    yolo_root: Path, trained_run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = resolve(trained_run.output / "model")
    command = ["--dataset", "yolo", "--root", str(yolo_root), "--weights", str(source.path.parent)]
    assert main([*command, "--output", str(tmp_path / "two"), "--name", "two-shapes", *ONE_STEP]) in (0, 1)  # as above
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("from shapes")]
    assert "replaced" not in line
    assert "matched by name: 2 in both (disc, ring)\n1 of shapes only (square)\n" in printed

    tuned = resolve(tmp_path / "two" / "model")
    assert tuned.card.name == "two-shapes"
    assert tuned.card.class_names == ["disc", "ring"]
    assert tuned.card.training["started_from"] == f"shapes, SHA-256 {source.card.sha256}"
    before, after = load_tensors(source), load_tensors(tuned)
    trained = [name for name in before if before[name].ndim == 4 and "classify" not in name]
    assert len(trained) > 100
    for name in trained:
        np.testing.assert_allclose(after[name], before[name], rtol=2e-3, atol=1e-5, err_msg=name)
    assert after["heads.0.classify.weight"].shape[0] == 6 * 3  # two classes and the background, six priors


@pytest.mark.slow
def test_a_backbone_is_taken_from_a_classifier_and_nothing_else(
    voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    torch.manual_seed(5)
    names = ["oak", "elm", "yew", "ash", "fir"]
    card = Card(name="trees", task="classification", architecture="peleenet", class_names=names, input_size=224)
    source = save_model(tmp_path / "trees", to_tensors(PeleeNet(5)), card)
    command = ["--dataset", "voc", "--root", str(voc_root), "--val-split", "val", *ONE_STEP]
    assert main([*command, "--output", str(tmp_path / "out"), "--backbone", str(tmp_path / "trees")]) in (0, 1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("from trees")]
    before, after = load_tensors(source), load_tensors(resolve(tmp_path / "out" / "model"))
    assert f"took {len(before) - 2} tensors; left (no place for them): 2 tensors of classifier.1" in line
    for name, tensor in before.items():
        if tensor.ndim == 4:
            np.testing.assert_allclose(after[f"backbone.{name}"], tensor, rtol=2e-3, atol=1e-5, err_msg=name)

    # A classifier is no detector, nor the other way round.
    del command[command.index("--val-split") + 2 :]
    error = error_of(capsys, *command, "--output", tmp_path / "no", "--weights", tmp_path / "trees")
    assert "holds a 'peleenet'; expected a detector" in error
    model = tmp_path / "out" / "model"
    assert "do not fit" in error_of(capsys, *command, "--output", tmp_path / "no", "--backbone", model)


# What is wrong is told in one line, before the work begins


def empty_split(root: Path) -> None:
    (root / "VOC2007" / "ImageSets" / "Main" / "trainval.txt").write_text("\n")


def split_without_objects(root: Path) -> None:
    (root / "VOC2007" / "ImageSets" / "Main" / "val.txt").write_text("000007\n")


def remove_root(root: Path) -> None:
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (empty_split, ["'trainval' lists no images"]),
        (split_without_objects, ["split val of voc has 1 images and no objects"]),
        (remove_root, ["no such file or folder", "voc dataset"]),
    ],
)
def test_damaged_data(
    own_voc_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    messages: list[str],
) -> None:
    damage(own_voc_root)
    command: list[str | Path] = [
        "--dataset",
        "voc",
        "--root",
        own_voc_root,
        "--output",
        tmp_path / "out",
        "--val-split",
        "val",
    ]
    line = error_of(capsys, *command)
    assert all(message in line for message in messages), line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_images_that_cannot_be_read_are_left_out_or_refused(
    own_voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_voc_root / "VOC2007" / "JPEGImages" / "000005.jpg").unlink()
    (own_voc_root / "VOC2007" / "JPEGImages" / "000009.jpg").write_bytes(b"no picture")
    cut = own_voc_root / "VOC2007" / "JPEGImages" / "000006.jpg"
    cut.write_bytes(cut.read_bytes()[:-100])
    command = on_voc(own_voc_root, tmp_path / "out")
    assert "2 of 8 images are missing or cannot be read" in error_of(capsys, *command, "--strict")
    assert not (tmp_path / "out").exists()
    assert main([str(word) for word in (*command, *ONE_STEP)]) == 1
    printed = capsys.readouterr()
    assert "voc trainval: 6 images, 3 classes\n" in printed.out and "voc val: 3 images, 3 classes\n" in printed.out
    assert "note: 2 images cannot be read and are left out:\n" in printed.out
    assert "3 images could not be read and were left out" in printed.err
    assert all(name in printed.err for name in ("000005.jpg", "000006.jpg", "000009.jpg"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lerning-rate", "1"], "unknown key 'lerning_rate'"),
        (["--batchsize", "1"], "did you mean 'batch_size'?"),
        (["--epochs", "ten"], "setting epochs"),
        (["--milestones", "[0.5"], "--milestones: '[0.5' is no YAML value"),
        (["pictures"], "unexpected argument 'pictures'"),
        (["--recipe", "quik"], "no recipe 'quik'"),
        (["--train-split", "trian"], "no split 'trian'; there are 2007-trainval, 2007-val"),
        (["--batch-size", "5", "--devices", "2"], "a batch of 5 is not divisible by 2 processes"),
        (["--devices", "0"], "by 0 processes"),
        (["--batch-size", "1"], "batch norm needs 2"),
        (["--input-size", "100"], "input size 100 does not fit"),
        (["--resume"], "nothing to resume"),
        (["--weights", "pelee-vox"], "neither a shipped model"),
        (["--backbone", "."], "holds no card.json"),
    ],
)
def test_wrong_flags(
    voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    command = on_voc(voc_root, tmp_path / "out")
    assert message in error_of(capsys, *command, *flags)
    assert not (tmp_path / "out").exists()


def test_classes_of_the_splits_are_matched_by_name_and_told_before_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, names in (("train", ["disc", "ring"]), ("val", ["Disc", "ring"])):
        write_image(tmp_path / split / f"{split}.jpg", np.full((60, 80, 3), len(split), np.uint8))
        content = {
            "images": [{"id": 1, "file_name": f"{split}.jpg", "width": 80, "height": 60}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [5, 5, 30, 30]}],
            "categories": [{"id": label, "name": name} for label, name in enumerate(names)],
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    flags = ["--train-split", "train", "--val-split", "val", "--output", str(tmp_path / "out")]
    assert main(["--dataset", "coco", "--root", str(tmp_path), *flags]) == 2
    out, err = capsys.readouterr()
    assert "note: class not in the training split, objects dropped: 1 of class 'Disc' in val\n" in out
    assert "note: classes of val and train are matched by name: 1 in both (ring)\n" in out
    assert "note: is 'Disc' of val the class 'disc' of train? If so, write both alike\n" in out
    assert "split val of coco has 1 images and no objects" in err


def test_a_training_of_few_steps_is_noted_with_the_epochs_that_would_do(
    voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detection.commands.train.TASK", replace(TASK, prepare=lambda *_: pytest.fail("not this far")))
    command = [str(word) for word in on_voc(voc_root, tmp_path / "out")]
    for flags, noted in (("--epochs 20 --batch-size 4", True), ("--epochs 30 --batch-size 4", False)):
        with pytest.raises(pytest.fail.Exception, match="not this far"):
            main([*command, *flags.split()])
        note = "note: 20 epochs of 2 steps are 40 steps, which is little"
        out = capsys.readouterr().out
        assert (note in out) is noted and ("--epochs 100\n" in out) is noted


def test_data_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--dataset and --root are needed" in error_of(capsys, "--output", tmp_path / "out")


def test_an_output_that_is_a_file(voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("in the way")
    command = on_voc(voc_root, tmp_path / "out")
    assert str(tmp_path / "out") in error_of(capsys, *command, *ONE_STEP)
    assert (tmp_path / "out").read_text() == "in the way"


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on_from_it(
    voc_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    last = tmp_path / "out" / "last.ckpt"
    command = ["--dataset", "voc", "--root", str(voc_root), "--output", str(tmp_path / "out"), *ONE_STEP]
    command += ["--val-split", "val", "--epochs", "2", "--max-steps", "null", "--validate-every", "9"]
    original, kept = Path.write_bytes, []

    def full_disk(self: Path, content: Any) -> int:
        if self.suffix == ".ckpt" and last.exists():
            kept.append(hashlib.sha256(last.read_bytes()).hexdigest())
            original(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return original(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        line = error_of(capsys, *command)
    assert line.startswith("No space left on device")
    assert "free some space and run the command again" in line
    assert hashlib.sha256(last.read_bytes()).hexdigest() == kept[0]
    assert sorted(path.name for path in last.parent.iterdir() if path.is_file()) == ["last.ckpt", "run.json"]
    assert main([*command, "--resume"]) == 0


# The settings on the command line


def test_a_flag_without_its_value_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--epochs"])
    assert stop.value.code == 2 and "--epochs: expected one argument" in capsys.readouterr().err


def test_printed_settings_are_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--recipe", "paper-voc", "--lr", "0.02", "--size-phases", "[[96, 0.5]]", "--print-settings"]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    (tmp_path / "own.yaml").write_text(printed)
    assert yaml.safe_load(printed)["lr"] == 0.02
    assert main(["--recipe", str(tmp_path / "own.yaml"), "--print-settings"]) == 0
    assert capsys.readouterr().out == printed


def test_a_resumed_run_has_the_settings_of_its_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those, too, that may change when a run is resumed; but for the precision, which suits the machine."""
    recipe, run = tmp_path / "mine.yaml", tmp_path / "run"
    recipe.write_text("patience: 3\ncheckpoint_every: 7\nmax_minutes: 60\nlr: 0.005\n")
    settings = to_plain(resolve_settings(str(recipe), {"epochs": 4}, "yolo")) | {"precision": "bf16"}
    recipe.unlink()
    run.mkdir()
    command = f"pelee-train --dataset yolo --root x --recipe {recipe} --epochs 4 --output {run}"
    (run / "run.json").write_text(json.dumps({"command": command, "folder": str(tmp_path), "settings": settings}))
    assert main(["--output", str(run), "--resume", "--max-minutes", "9", "--print-settings"]) == 0
    resumed = yaml.safe_load(capsys.readouterr().out)
    assert resumed == settings | {"precision": "auto", "max_minutes": 9.0}


@pytest.mark.slow
def test_help_names_a_way_on_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, detection.commands.train as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'pytorch_lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pelee-train --dataset yolo --root my-data --weights pelee-voc" in done.stdout


@pytest.mark.slow
def test_weights_of_another_design_are_refused(
    voc_root: Path, trained_run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(trained_run.output / "model")
    words = ["--dataset", "voc", "--root", str(voc_root), "--val-split", "val", "--output", str(tmp_path)]
    assert main([*words, "--weights", model, "--prior-sizes", "coco", "--input-size", "64"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "was made with prior_sizes [0.1, 0.2" in error or "was made with prior_sizes (0.1, 0.2" in error
