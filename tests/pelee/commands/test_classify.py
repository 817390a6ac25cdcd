"""pelee-classify from the command line, with a classifier of known answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images.image_io import write_image
from pelee.classification import classifier as module
from pelee.commands.classify import main
from tests.support.lookup_classifier import gray_image, save_toy, use_session
from tests.support.paths import ROOT

NAMES = ["ant", "bee", "[cat]"]  # brackets are no markup of the table
ROWS = np.array([[0.5, 0.3, 0.2], [0.125, 0.75, 0.125], [0.1, 0.2, 0.7]])


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    use_session(monkeypatch, ROWS)
    return str(save_toy(tmp_path / "toy", NAMES))


def test_folder_pattern_and_file_classify_each_image_once(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    files = [
        gray_image(photos / "sub" / "2.png", 2),
        gray_image(photos / "0.png", 0),
        gray_image(tmp_path / "more" / "1.png", 1, 7, 9),
    ]
    target = tmp_path / "new" / "classes.jsonl"
    arguments = [str(photos), str(tmp_path / "more" / "*.png"), str(files[1]), "--weights", model, "--top", "2"]
    assert main([*arguments, "--json", str(target)]) == 0
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert lines == [
        {
            "source": str(file),
            "width": width,
            "height": height,
            "classes": [{"label": NAMES[i], "class_id": i, "score": score} for i, score in classes],
        }
        for file, width, height, classes in (
            (files[1], 10, 6, [(0, 0.5), (1, 0.3)]),
            (files[0], 10, 6, [(2, 0.7), (1, 0.2)]),
            (files[2], 7, 9, [(1, 0.75), (0, 0.125)]),
        )
    ]
    output = capsys.readouterr()
    assert "[cat]" in output.out and "0.700" in output.out and "0.100" not in output.out
    assert "toy on a table: 3 images" in output.out
    assert output.err == ""


def test_json_to_stdout_moves_the_table_to_stderr(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(gray_image(tmp_path / "1.png", 1)), "--weights", model, "--json", "-"]) == 0
    output = capsys.readouterr()
    assert len(json.loads(output.out)["classes"]) == 3  # five requested, three exist
    assert "bee" in output.err


def test_many_images_are_counted_by_class(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        gray_image(tmp_path / "photos" / f"{number:02}.png", 1 if number < 22 else 2)
    assert main([str(tmp_path / "photos"), "--weights", model]) == 0
    rows = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["bee", "22"] in rows and ["[cat]", "8"] in rows
    assert not any("0.png" in cell for row in rows for cell in row)


@pytest.mark.parametrize(
    ("inputs", "code", "errors"),
    [
        (["good.png", "bad.png"], 1, ["bad.png: not an image"]),
        (["good.png", "absent.png"], 1, ["absent.png: no such file or folder"]),
        (["bad.png"], 2, ["bad.png: not an image"]),
        (["absent.png", "empty", "*.tif"], 2, ["absent.png: no such", "empty: no images", "*.tif: no such"]),
        (["cut.png", "good.png", "bad.png"], 1, ["cut.png: cannot be read", "bad.png: not an image"]),
        (["good.png"], 0, []),
    ],
)
def test_unreadable_inputs_are_one_line_each_and_skipped(
    inputs: list[str],
    code: int,
    errors: list[str],
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    gray_image(Path("good.png"), 1)
    Path("bad.png").write_text("not an image")
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    write_image("cut.png", noise)
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:2000])
    Path("empty").mkdir()
    assert main([*inputs, "--weights", model, "--json", "lines.jsonl"]) == code
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert len(lines) == len(errors)
    assert all(line.startswith(f"error: {words}") for line, words in zip(lines, errors, strict=True))
    assert ("bee" in output.out) == (code < 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "pelee-voc"], "error: pelee-voc: a model for detection, expected one for classification"),
        (["--weights", "nothing"], "error: 'nothing' is neither a shipped model"),
        (["--runtime", "tflite"], "error: unknown runtime 'tflite'"),
        (["--json", "."], "error: --json . is a folder"),
        (
            ["--device", "tpu", "--runtime", "torch", "--weights", "peleenet-tiny-imagenet"],
            "error: unknown device 'tpu'",
        ),
    ],
)
def test_error_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    gray_image(Path("good.png"), 1)
    assert main(["good.png", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(words) and error.count("\n") == 1


def test_ctrl_c_keeps_the_lines_written_so_far(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = module.Classifier.stream

    def cut(self, files, **keywords):  # type: ignore[no-untyped-def]
        yield next(whole(self, files, batch=2))
        raise KeyboardInterrupt

    monkeypatch.setattr(module.Classifier, "stream", cut)
    for number in range(4):
        gray_image(tmp_path / "photos" / f"{number}.png", 1)
    target = tmp_path / "lines.jsonl"
    assert main([str(tmp_path / "photos"), "--weights", model, "--json", str(target)]) == 130
    assert len(target.read_text().splitlines()) == 2
    output = capsys.readouterr()
    assert "2 images" in output.out and "interrupted" in output.err


@pytest.mark.parametrize("arguments", [[], ["x.png", "--top", "0"], ["x.png", "--top", "two"]])
def test_invalid_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.slow
def test_shipped_model_from_another_folder(tmp_path: Path) -> None:
    root = ROOT
    command = [sys.executable, "-m", "pelee.commands.classify", str(root / "data/samples/chelsea.jpg")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [*command, "--json", "-"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert (line["width"], line["height"], len(line["classes"])) == (451, 300, 5)
    scores = [found["score"] for found in line["classes"]]
    assert scores == sorted(scores, reverse=True) and 0 < sum(scores) < 1


@pytest.mark.parametrize("command", ["classify", "eval_classifier", "runs", "search", "train_classifier"])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        f"import sys, pelee.commands.{command} as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'matplotlib', 'supervision', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"usage: pelee-{command.replace('_', '-')}" in run.stdout


@pytest.mark.slow
def test_the_classifier_and_its_results_import_no_torch() -> None:
    code = (
        "import sys, pelee.classification.classifier, pelee.classification.results\n"
        "import pelee.classification.evaluation.evaluate\n"
        "heavy = {'torch', 'matplotlib', 'supervision', 'pytorch_lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_over_long_path_does_not_stop_the_others(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = gray_image(tmp_path / "1.png", 1)
    assert main(["x" * 300, str(photo), "--weights", model, "--json", "-"]) == 1
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1 and output.err.startswith("error: xxx")


def test_what_a_folder_or_pattern_cannot_give_does_not_stop_its_images(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray_image(tmp_path / "1.png", 1)
    os.mkfifo(tmp_path / "pipe.png")
    for given in (tmp_path, tmp_path / "*.png"):
        assert main([str(given), "--weights", model, "--json", "-"]) == 1
        output = capsys.readouterr()
        assert len(output.out.splitlines()) == 1
        assert output.err.startswith(f"error: {tmp_path / 'pipe.png'}: skipped, expected a file and found a pipe")


def test_a_jpeg_that_is_cut_off_is_one_line(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "cut.jpg"
    pixels = np.zeros((64, 64, 3), np.uint8)  # the toy model looks at the first pixel
    pixels[32:] = np.random.default_rng(0).integers(0, 255, (32, 64, 3))
    Image.fromarray(pixels).save(photo)
    photo.write_bytes(photo.read_bytes()[:-2])
    assert main([str(photo), "--weights", model, "--json", "-"]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1
    assert output.err.splitlines()[0] == (
        f"warning: {photo}: the JPEG is cut off; less than 1% of its rows are missing"
    )
