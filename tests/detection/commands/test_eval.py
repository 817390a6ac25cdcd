"""pelee-eval from the command line, on a YOLO dataset, with a detector that knows the answers."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.datasets.registry import open_dataset
from data.images.image_io import write_image
from data.packed.packing import PackOptions, pack_split
from detection.commands.eval import main
from detection.detector import Detector
from detection.inference.prediction import Prediction
from detection.tiling.tiling import Tiling
from tests.support.tiny_detector import save_small
from weights.card import Card as WeightsCard

BOX = (16.0, 12.0, 48.0, 36.0)  # what "0.5 0.5 0.5 0.5" is in an image of 64 x 48


@dataclass
class Card:
    name: str = "toy"
    sha256: str = "ab" * 32
    default_confidence: float = 0.5
    suppression: dict[str, float] = field(default_factory=dict)


class KnowingDetector:
    """Has more classes than the dataset, in another order, and says "dog" for the box in every image."""

    class_names = ("cow", "cat", "dog")
    card = Card()
    runtime = SimpleNamespace(name="knowing f32 CPU")
    input_size = 304

    def predict_batch(
        self, images: list[np.ndarray], confidence: float, iou: float, max_detections: int, tiling: Tiling | None
    ) -> list[Prediction]:
        if tiling is not None:  # as if the objects were found in tiles alone
            return [Prediction(np.array([BOX], np.float32), np.ones(1, np.float32), np.array([1])) for _ in images]
        assert (confidence, iou, max_detections) == (0.01, 0.45, 200)
        boxes, scores = np.array([BOX, BOX], np.float32), np.array([0.9, 0.8], np.float32)
        return [Prediction(boxes, scores, np.array([2, 0])) for _ in images]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A YOLO dataset of two images with a dog in the first and a cat in the second."""
    for number in range(2):
        write_image(tmp_path / "data" / "images" / "val" / f"{number}.png", np.zeros((48, 64, 3), np.uint8))
        labels = tmp_path / "data" / "labels" / "val" / f"{number}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(f"{number} 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data" / "data.yaml").write_text("val: images/val\nnames: [dog, cat]\n")
    monkeypatch.setattr(Detector, "load", lambda name, **options: KnowingDetector())
    return tmp_path / "data"


@pytest.mark.slow
def test_numbers_tables_and_plots(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, plots = tmp_path / "new" / "result.json", tmp_path / "plots"
    options = ["--dataset", "yolo", "--root", str(root), "--weights", "toy", "--batch-size", "1"]
    assert main([*options, "--json", str(target), "--output", str(plots)]) == 0
    content = json.loads(target.read_text())
    # dog: found, then a false positive of lower score in the other image -> 1; cat: called dog -> 0; cow: no class
    assert [row["ap_allpoint"] for row in content["classes"]] == [1, 0]
    assert content["voc"]["map_11point"] == 0.5
    assert content["model"] == {"name": "toy", "sha256": "ab" * 32}
    assert content["settings"] == {
        "confidence": 0.01,
        "iou": 0.45,
        "max_detections": 200,
        "batch": 1,
        "runtime": "knowing f32 CPU",
        "tiles": "off",
        "size": 304,
    }
    assert content["confusion_matrix"]["counts"] == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert content["split"] == "val"
    names = ("precision_recall", "confusion_matrix", "errors", "best_pictures", "worst_pictures")
    assert {path.name for path in plots.iterdir()} == {f"{name}.png" for name in names}
    output = capsys.readouterr()
    assert "mAP 50.0 (11-point), 50.0 (all-point)" in output.out
    assert output.err == ""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["packed", "packed-in-memory"])
def test_a_packed_dataset_has_the_figures_of_the_original(
    form: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of its only split, without naming it; with the plots, which read its images once more."""
    pack_split(open_dataset("yolo", root, "val"), tmp_path / "packed", PackOptions())
    figures = []
    for words in (["--dataset", "yolo", "--root", str(root)], ["--dataset", form, "--root", str(tmp_path / "packed")]):
        plots = ["--output", str(tmp_path / f"plots-{len(figures)}")]
        assert main([*words, "--weights", "toy", "--json", "-", *plots]) == 0
        figures.append(json.loads(capsys.readouterr().out))
    for timed in figures:
        for key in [key for key in timed if "seconds" in key or key in ("command", "images_per_second")]:
            del timed[key]
    assert figures[0] == figures[1]


def test_the_runtime_is_chosen_by_flags(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(Detector, "load", lambda name, **options: (given.append(options), KnowingDetector())[1])
    options = ["--dataset", "yolo", "--root", str(root), "--weights", "toy"]
    assert main([*options, "--runtime", "torch", "--device", "cpu", "--precision", "f32"]) == 0
    assert main([*options, "--input-size", "224"]) == 0
    assert given == [
        {"runtime": "torch", "device": "cpu", "precision": "f32", "mode": "throughput", "size": None},
        {"runtime": "auto", "device": "auto", "precision": "auto", "mode": "throughput", "size": 224},
    ]


def test_tiles_reach_the_detector(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dataset", "yolo", "--root", str(root), "--weights", "toy", "--json", "-"]
    assert main([*options, "--tiles", "2x3"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["ap_allpoint"] for row in content["classes"]] == [0, 0.5]
    assert content["settings"]["tiles"] == "2x3"
    assert main([*options, "--tiles", "2x"]) == 2
    assert "tiles '2x', expected" in capsys.readouterr().err


def test_json_alone_goes_to_stdout(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dataset", "yolo", "--root", str(root), "--weights", "toy", "--json", "-"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["pictures"] == 2
    assert "mAP" in output.err


def test_a_model_of_other_classes_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "data.yaml").write_text("val: images/val\nnames: [yak, zebu]\n")
    assert main(["--dataset", "yolo", "--root", str(root), "--weights", "toy"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the model knows 3 classes, and none of the dataset's 2: yak, zebu; ")
    assert error.count("\n") == 1


def test_the_classes_that_both_know_are_measured(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "data.yaml").write_text("val: images/val\nnames: [dog, yak]\n")
    words = ["--dataset", "yolo", "--root", str(root), "--weights", "toy", "--json", "-"]
    assert main(words) == 0
    output = capsys.readouterr()
    assert output.err.startswith("measured on 1 classes that both know, of the model's 3 and the dataset's 2\n")
    content = json.loads(output.out)
    assert [row["name"] for row in content["classes"]] == ["dog"]
    assert content["settings"]["classes"] == {
        "model": 3,
        "dataset": 2,
        "common": [{"model": "dog", "dataset": "dog"}],
    }
    assert main([*words, "--map", "cow=yak"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith(
        "measured on 2 classes that both know, of the model's 3 and the dataset's 2 (cow = yak)"
    )
    # The cow is found in both images, once with a yak in it: the false positive does not come first.
    assert [row["objects"] for row in json.loads(output.out)["classes"]] == [1, 1]
    assert main([*words, "--map", "cow=yack"]) == 2
    assert "'yack' is unknown; did you mean 'yak'?" in capsys.readouterr().err


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """COCO's layout below datasets/coco: an image with an airplane and a giraffe, and a test image."""
    root = tmp_path / "datasets" / "coco"
    (root / "annotations").mkdir(parents=True)
    categories = [{"id": 5, "name": "airplane"}, {"id": 25, "name": "giraffe"}]
    for split, folder, kind in (("val2017", "val2017", "instances"), ("test-dev2017", "test2017", "image_info")):
        write_image(root / folder / f"00000{len(split)}.png", np.zeros((48, 64, 3), np.uint8))
        content = {
            "images": [{"id": len(split), "file_name": f"00000{len(split)}.png", "width": 64, "height": 48}],
            "categories": categories,
        }
        if split == "val2017":
            content["annotations"] = [
                {"id": 1, "image_id": 7, "category_id": 5, "bbox": [16, 12, 32, 24], "area": 768, "iscrowd": 0},
                {"id": 2, "image_id": 7, "category_id": 25, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0},
            ]
        (root / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path / "models"))
    monkeypatch.setattr(KnowingDetector, "class_names", ("cow", "cat", "aeroplane"))
    return root


@pytest.mark.slow
def test_coco_as_typed(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(Detector, "load", lambda name, **options: (loaded.append(name), KnowingDetector())[1])
    assert main(["--dataset", "coco", "--json", "-"]) == 0
    output = capsys.readouterr()
    expected = "measured on 1 classes that both know, of the model's 3 and the dataset's 2 (aeroplane = airplane)"
    assert output.err.splitlines()[0] == expected
    content = json.loads(output.out)
    assert content["coco"]["AP"] == pytest.approx(1) and len(content["coco"]) == 12
    assert [(row["name"], row["objects"]) for row in content["classes"]] == [("airplane", 1)]
    save_small(tmp_path / "models" / "pelee-coco")
    assert main(["--dataset", "coco", "--root", str(coco)]) == 0
    assert loaded == ["pelee-voc", "pelee-coco"]


def test_coco_that_is_not_there_names_the_commands(
    coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(coco)
    monkeypatch.setattr(Detector, "load", lambda name, **options: KnowingDetector())
    assert main(["--dataset", "coco"]) == 2
    error = capsys.readouterr().err
    assert (
        "datasets/coco is not there: pelee-data download coco --parts val2017 annotations" in error
        and "then pelee-eval --dataset coco" in error
    )
    assert error.count("\n") == 1


def test_test_dev_is_a_file_for_the_server(
    coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Detector, "load", lambda name, **options: KnowingDetector())
    assert main(["--dataset", "coco", "--split", "test-dev"]) == 2
    assert "--output DIR gets the file" in capsys.readouterr().err
    assert main(["--dataset", "coco", "--split", "test-dev", "--output", "out"]) == 0
    content = json.loads(Path("out/detections_test-dev2017_toy_results.json").read_text())
    assert content == [{"image_id": 12, "category_id": 5, "bbox": [16, 12, 32, 24], "score": 0.9}]


def test_a_folder_for_json_is_told_before_the_work(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Detector, "load", lambda name, **options: pytest.fail("the work began"))
    assert main(["--dataset", "yolo", "--root", str(root), "--weights", "toy", "--json", str(tmp_path)]) == 2
    assert "is a folder; name a file" in capsys.readouterr().err


def test_a_missing_library_names_the_extra_that_brings_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dataset", "yolo", "--root", str(root), "--weights", "toy"]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(options) == 0  # needed for the plots only
    assert main([*options, "--output", str(tmp_path / "plots")]) == 2
    assert capsys.readouterr().err.startswith("error: matplotlib is not installed")
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    assert main(options) == 2
    assert "pip install 'pelee[train]'" in capsys.readouterr().err


def test_warnings_are_few_lines(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # seven boxes that stick out of the image, six of them repeated: a line a kind, with number and first example
    (root / "labels" / "val" / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n" + "0 0.9 0.5 0.6 0.5\n" * 7)
    assert main(["--dataset", "yolo", "--root", str(root), "--weights", "toy"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: box clipped to its image: 7, the first is ")
    assert lines[1].startswith("warning: the same object twice, one dropped: 6, the first is ")


def test_an_unreadable_image_is_an_error_that_names_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = sorted((root / "images" / "val").iterdir())[0]
    image.write_bytes(b"no image")
    assert main(["--dataset", "yolo", "--root", str(root), "--weights", "toy"]) == 2
    assert image.name in capsys.readouterr().err


@pytest.mark.slow
def test_the_best_confidence_goes_into_the_card(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # dog: right, and wrong in the other image, 2 · 1 / (2 + 1); cat: nothing; best at every confidence to 0.9
    model = save_small(tmp_path / "m")
    words = ["--dataset", "yolo", "--root", str(root), "--weights", str(tmp_path / "m"), "--map", "b=dog"]
    monkeypatch.setattr(KnowingDetector, "class_names", ("a", "c", "b"))
    assert main([*words, "--set-confidence", "--target-precision", "0.5"]) == 0
    assert "default confidence 0.45; by class 0.45 to 0.45, at a precision of 0.5\n" in capsys.readouterr().out
    card = WeightsCard.load(tmp_path / "m")
    assert (card.default_confidence, card.sha256) == (0.45, model.card.sha256)
    assert card.class_confidence["classes"] == {
        "b": {"confidence": 0.45, "chosen_by": "precision", "precision": 0.5, "recall": 1.0}
    }
    assert card.default_thresholds == (0.45, 0.45, 0.45)
    assert main([*words, "--set-confidence"]) == 0
    changed = WeightsCard.load(tmp_path / "m").class_confidence
    assert (changed["precision"], changed["classes"]["b"]["chosen_by"]) == (0.8, "best F1")
    with pytest.raises(SystemExit):
        main([*words, "--target-precision", "0.5"])
    assert "--target-precision needs --set-confidence" in capsys.readouterr().err


def test_a_model_that_finds_nothing_has_no_best_confidence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Prediction(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    monkeypatch.setattr(KnowingDetector, "predict_batch", lambda self, images, *_, **__: [empty] * len(images))
    save_small(tmp_path / "m")
    before = WeightsCard.load(tmp_path / "m")
    words = ["--dataset", "yolo", "--root", str(root), "--weights", str(tmp_path / "m"), "--batch", "2"]
    assert main([*words, "--set-confidence"]) == 2
    assert "the card is unchanged, as the F1 is 0" in capsys.readouterr().err
    assert WeightsCard.load(tmp_path / "m") == before


@pytest.mark.parametrize(
    ("words", "missing"),
    [(["--dataset", "yolo", "--root", "data"], "--weights"), (["--dataset", "yolo"], "--root"), ([], "--dataset")],
)
def test_what_has_no_default_is_needed(words: list[str], missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert f"{missing} is needed" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, detection.commands.eval as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'matplotlib', 'pycocotools', 'supervision', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "--dataset" in run.stdout
