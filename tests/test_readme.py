"""The README's commands and its Python example, run as they stand, on tiny data where they name large ones."""

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from data.images.image_io import read_image, write_image
from detection.benchmark import latency as bench_speed
from detection.commands import bench as benchmark
from detection.training import overfit_check as overfit
from tests.support.paths import ROOT
from weights.store import resolve

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Two steps at 64 px in place of hours: flags override a recipe, and what follows overrides what stands there.
SHORT = [
    "--max-steps=2",
    "--batch-size=2",
    "--input-size=64",
    "--size-phases=[]",
    "--workers=0",
    "--checkpoint-every=1",
]


def commands(language: str) -> list[list[str]]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def voc_named(root: Path, classes: dict[str, str]) -> None:
    """Give the tiny devkit VOC's own class names and the years and splits that the README speaks of."""
    (root / "labels.txt").unlink()
    for file in root.glob("VOC2007/Annotations/*.xml"):
        text = file.read_text()
        for shape, name in classes.items():
            text = text.replace(f"<name>{shape}<", f"<name>{name}<")
        file.write_text(text)
    sets = root / "VOC2007" / "ImageSets" / "Main"
    for split in ("test", "minival", "testrest"):
        shutil.copy(sets / "val.txt", sets / f"{split}.txt")
    shutil.copytree(root / "VOC2007", root / "VOC2012")


@pytest.fixture
def workplace(tmp_path, own_voc_root, yolo_root, monkeypatch):
    """A folder with all that the README's commands name."""
    voc_named(own_voc_root, {"disc": "car", "ring": "dog", "square": "person"})
    shutil.copytree(yolo_root, tmp_path / "shapes")
    (tmp_path / "data").mkdir()
    shutil.copytree(ROOT / "data" / "samples", tmp_path / "data" / "samples")
    short_clip(tmp_path / "data" / "samples" / "bikes.mp4")
    names = resolve("peleenet-tiny-imagenet").card.class_names
    class_folders(tmp_path / "tiny-imagenet", {f"n{number:08d}": name for number, name in enumerate(names)})
    class_folders(tmp_path / "my-photos", {"mine": "mine", "yours": "yours"})
    class_folders(tmp_path / "cifar10", {name: name for name in ("airplane", "frog", "ship")}, ("train", "test"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def class_folders(root: Path, names: dict[str, str], splits: tuple[str, str] = ("train", "val")) -> None:
    """A picture a class in both splits; `names` gives each folder's name in words."""
    for split in splits:
        for number, folder in enumerate(names):
            write_image(root / split / folder / "a.png", np.full((24, 24, 3), number, np.uint8))
    (root / "words.txt").write_text("".join(f"{key}\t{word}\n" for key, word in names.items()))


def short_clip(path: Path, frames: int = 4) -> None:
    """Cut a clip to its first frames."""
    from detection.video.video_file import VideoFile
    from detection.video.video_writer import video_writer

    with VideoFile(str(path)) as source:
        kept = [frame.image for frame, _ in zip(source, range(frames), strict=False)]
        size, rate = source.size, source.rate
    with video_writer(path, size, rate) as writer:
        for image in kept:
            writer.write(image)


def test_every_command_works(workplace, capsys, monkeypatch):
    monkeypatch.setattr(bench_speed, "SECONDS", 0.1)
    monkeypatch.setattr(benchmark, "START_RUNS", 1)
    scripts = {entry.name: entry for entry in importlib.metadata.entry_points(group="console_scripts")}
    ran = []
    for name, *words in commands("bash"):
        if name == "make":
            assert all(f"\n{target}:" in (ROOT / "Makefile").read_text() for target in words)
            continue
        if name in ("pelee-serve", "curl"):
            continue  # below, together
        if (name, words[:2]) == ("python", ["-m", "detection.training.overfit_check"]):
            assert overfit.main([*words[2:], "--steps=1", "--input-size=64"]) == 1  # one step teaches nothing
            continue
        extra = SHORT if name in ("pelee-train", "pelee-train-classifier") and "--print-settings" not in words else []
        extra += ["--repeats=2", "--steps=1", "--batch-size=2"] if name == "pelee-bench" else []
        # The doctor finds the tiny devkit's few classes and equal pictures wanting, and says so by exit code 1.
        expected = 1 if words[:1] == ["check"] else 0
        assert scripts[name].load()([*words, *extra]) == expected, (name, words, capsys.readouterr().err)
        ran.append(name)
    assert {"pelee-detect", "pelee-train", "pelee-eval", "pelee-data", "pelee-models", "pelee-bench"} <= set(ran)
    assert (workplace / "out" / "bikes.mp4").is_file() and (
        workplace / "runs" / "mine" / "model" / "card.json"
    ).is_file()


def python_examples():
    return re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_examples_run(workplace, capsys):
    detect, classify, _ = python_examples()
    exec(compile(detect, "README.md", "exec"), {})
    assert "cat" in capsys.readouterr().out
    exec(compile(classify, "README.md", "exec"), {})
    assert "Candidate(label='" in capsys.readouterr().out


@pytest.fixture
def service(workplace):
    """The address of the server that the README starts, as a process, on a free port."""
    (words,) = (words for name, *words in commands("bash") if name == "pelee-serve")
    command = [sys.executable, "-m", "serve.commands.serve", *words, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as run:
        try:
            address = re.search(r"http://[\d.:]+", run.stdout.readline())[0]
            until = time.monotonic() + 60
            while not is_ready(address):
                assert run.poll() is None and time.monotonic() < until
                time.sleep(0.05)
            yield address
        finally:
            run.terminate()
            assert run.wait(30) == 0


def is_ready(address):
    try:
        with urllib.request.urlopen(f"{address}/readyz") as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_clients_of_the_service_work(workplace, service, capfd):
    here = "http://127.0.0.1:8000"
    curls = [words for words in commands("bash") if words[0] == "curl"]
    answers = []
    for words in curls:
        subprocess.run([*(word.replace(here, service) for word in words), "-sSf", "--max-time", "30"], check=True)
        answers.append(capfd.readouterr().out)
    assert len(curls) == 3 and "image/jpeg" in str(curls[2])
    assert [found["label"] for found in json.loads(answers[0])["detections"]] == ["cat"]
    assert len(json.loads(answers[1])["classes"]) == 3
    assert read_image("out.jpg").shape == read_image("data/samples/chelsea.jpg").shape
    example = python_examples()[2]
    assert here in example and len([line for line in example.splitlines() if line]) <= 10
    exec(compile(example.replace(here, service), "README.md", "exec"), {})
    assert capfd.readouterr().out.startswith("cat 0.")


def test_every_file_that_it_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]
