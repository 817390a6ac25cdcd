"""README and docs: commands and Python blocks run; flags, values, modules and files exist.

Commands in `bash` blocks run as they stand, on tiny data where they name large ones. Commands in `text` blocks and in
inline code (a GPU, a camera, hours) are only checked: the command exists and its help has the flags.
"""

import ast
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data.images.image_io import read_image, write_image
from tests.support.documentation import (
    CLASSIFIER_RECIPES,
    DETECTOR_RECIPES,
    EXPERIMENTS,
    NOT_CHECKED,
    PACKAGES,
    PAGES,
    PROJECT,
    QUICK,
    SERVICE,
    blocks,
    commands,
    each_page,
    entry,
    lines,
    mentioned,
    name,
    options,
    shipped,
    spans,
    text,
)
from tests.support.paths import ROOT
from weights.store import resolve

PATIENCE = 180.0  # seconds for the start of the service, on a machine that is busy with other things

# ---------------------------------------------------------------- commands


def voc_named(root: Path, classes: dict[str, str]) -> None:
    """Give the tiny devkit VOC's own class names and the years and splits that the pages name."""
    (root / "labels.txt").unlink()
    for file in root.glob("VOC2007/Annotations/*.xml"):
        content = file.read_text()
        for shape, class_name in classes.items():
            content = content.replace(f"<name>{shape}<", f"<name>{class_name}<")
        file.write_text(content)
    sets = root / "VOC2007" / "ImageSets" / "Main"
    for split in ("test", "minival", "testrest"):
        shutil.copy(sets / "val.txt", sets / f"{split}.txt")
    shutil.copytree(root / "VOC2007", root / "VOC2012")


def class_folders(root: Path, names: dict[str, str], splits: tuple[str, str] = ("train", "val")) -> None:
    """An image per class in both splits; `names` gives each folder's name in words."""
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


@pytest.fixture
def workplace(tmp_path, own_voc_root, yolo_root, monkeypatch):
    """A folder with everything that the pages' commands name."""
    voc_named(own_voc_root, {"disc": "car", "ring": "dog", "square": "person"})
    sets = own_voc_root / "VOC2007" / "ImageSets" / "Main"
    shutil.copy(sets / "test.txt", sets / "minival.txt")
    shutil.copytree(yolo_root, tmp_path / "shapes")
    (tmp_path / "data").mkdir()
    shutil.copytree(ROOT / "data" / "samples", tmp_path / "data" / "samples")
    short_clip(tmp_path / "data" / "samples" / "bikes.mp4")
    shutil.copy(tmp_path / "data" / "samples" / "bikes.mp4", tmp_path / "yard.mp4")
    (tmp_path / "watch.yaml").write_text("cameras: {yard: {source: yard.mp4}}\nrules: {people: {labels: person}}\n")
    backbone = resolve("peleenet-tiny-imagenet")
    class_names = backbone.card.class_names
    class_folders(tmp_path / "tiny-imagenet", {f"n{number:08d}": word for number, word in enumerate(class_names)})
    class_folders(tmp_path / "my-photos", {"mine": "mine", "yours": "yours"})
    class_folders(tmp_path / "cifar10", {word: word for word in ("airplane", "frog", "ship")}, ("train", "test"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders, log intervals, full folders
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page, "bash")], ids=name)
def test_commands_of_bash_blocks_run(page, workplace, capsys, monkeypatch):
    from detection.benchmark import latency
    from detection.benchmark import measure as benchmark

    monkeypatch.setattr(latency, "SECONDS", 0.1)
    monkeypatch.setattr(latency, "ROUNDS", 1)
    monkeypatch.setattr(latency, "WARMUP_CALLS", 1)
    monkeypatch.setattr(latency, "ROUND_WARMUP_CALLS", 0)
    monkeypatch.setattr(benchmark, "START_RUNS", 1)
    found = commands(page, "bash")
    if not any("runs/tiny" in command.words for command in found):  # made by another page
        shutil.copytree(ROOT / "weights" / "peleenet-tiny-imagenet", workplace / "runs" / "tiny" / "model")
    for command, words in found:
        if command == "pelee-serve":
            continue  # below, with its clients
        extra = [] if "--print-settings" in words else QUICK.get(command, [])
        # Exit code 1: the tiny devkit has few classes and equal images, which the dataset check reports; a detector may
        # find nothing after two steps; one step of the overfit check teaches nothing.
        maybe = words[:1] == ["check"] or command == "pelee-train"
        expected = (0, 1) if maybe else (1,) if command.endswith("overfit_check") else (0,)
        assert entry(command)([*words, *extra]) in expected, (command, words, capsys.readouterr().err)
        for option, value in itertools.pairwise(words):
            if option == "--output":
                assert (workplace / value).exists(), (command, words)


def test_the_pages_run_the_main_commands():
    run = {command.name for page in PAGES for command in commands(page, "bash")}
    # They need hours, the weights of others, or a start of Ray, which the tests of pelee-batch have.
    left = {"pelee-ablate", "pelee-batch", "pelee-import", "pelee-search"}
    assert set(PROJECT["scripts"]) - run <= left


def flags(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


@pytest.mark.slow
@each_page
def test_commands_exist_and_have_the_flags(page):
    wrong = []
    for command, words in [*mentioned(page), *commands(page, "bash")]:
        if command in NOT_CHECKED:
            continue
        if command.startswith("tests."):
            assert (ROOT / f"{command.replace('.', '/')}.py").is_file(), command
            continue
        assert command in PROJECT["scripts"] or command.partition(".")[0] in PACKAGES, command
        wrong += [(command, flag) for flag in flags(words) if flag not in options(command)]
    assert not wrong


@pytest.mark.slow
@each_page
def test_flags_in_prose_belong_to_a_command(page):
    known = frozenset().union(*map(options, PROJECT["scripts"])) | {"--strict"}
    wrong = [flag for span in spans(page) if span.startswith("--") for flag in flags(span.split()) if flag not in known]
    assert not wrong


@each_page
def test_values_in_commands_exist(page):
    """Recipes, models and experiments by their names."""
    from detection.models.registry import ARCHITECTURES
    from pelee.models.registry import MODELS

    models = {"pelee-train": ARCHITECTURES, "pelee-train-classifier": MODELS}
    wrong = []
    for command, words in [*mentioned(page), *commands(page, "bash")]:
        for option, value in itertools.pairwise(words):
            if option == "--recipe" and not value.endswith(".yaml"):
                folder = DETECTOR_RECIPES if command == "pelee-train" else CLASSIFIER_RECIPES
                wrong += [] if value in shipped(folder) else [(command, value)]
            if option == "--model" and command in models:
                wrong += [] if value in models[command] else [(command, value)]
        if command == "pelee-ablate" and words:
            wrong += [] if words[0] in shipped(EXPERIMENTS) else [(command, words[0])]
    assert not wrong


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {target for page in PAGES for target in re.findall(r"^make ([\w-]+)", text(page), re.MULTILINE)}
    targets |= {span.split()[1] for page in PAGES for span in spans(page) if re.fullmatch(r"make [\w-]+", span)}
    assert targets and not [target for target in targets if f"\n{target}:" not in makefile]


# ---------------------------------------------------------------- Python, JSON and modules


@pytest.fixture
def service(workplace):
    """The address of the server that the README starts, as a process, on a free port."""
    (words,) = (command.words for command in commands(ROOT / "README.md", "bash") if command.name == "pelee-serve")
    command = [sys.executable, "-m", "serve.commands.serve", *words, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as run:
        try:
            address = re.search(r"http://[\d.:]+", run.stdout.readline())[0]
            until = time.monotonic() + PATIENCE
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


def curls() -> list[list[str]]:
    return [
        shlex.split(line, comments=True)
        for page in PAGES
        for block in blocks(page, "bash")
        for line in lines(block)
        if line.startswith("curl ")
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_clients_of_the_service_work(workplace, service, capfd):
    answers = []
    for words in curls():
        subprocess.run([*(word.replace(SERVICE, service) for word in words), "-sSf", "--max-time", "30"], check=True)
        answers.append(capfd.readouterr().out)
    assert len(answers) == 3
    assert [found["label"] for found in json.loads(answers[0])["detections"]] == ["cat"]
    assert len(json.loads(answers[1])["classes"]) == 3
    assert read_image("out.jpg").shape == read_image("data/samples/chelsea.jpg").shape
    (example,) = (block for page in PAGES for block in blocks(page, "python") if SERVICE in block)
    exec(compile(example.replace(SERVICE, service), "docs", "exec"), {})
    assert capfd.readouterr().out.startswith("cat 0.")


PYTHON = [(page, block) for page in PAGES for block in blocks(page, "python") if SERVICE not in block]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[f"{name(page)}-{n}" for n, (page, _) in enumerate(PYTHON)])
def test_python_blocks_run(page, block):
    """In processes of their own: some blocks add rows to registries."""
    done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout) == ("print(" in block)
    assert page.name not in ("README.md", "detect.md") or "cat" in done.stdout


@each_page
def test_json_blocks_parse(page):
    for block in blocks(page, "json"):
        assert json.loads(block)


@pytest.mark.slow
def test_the_json_line_has_the_keys_of_the_code(workplace, capsys):
    from detection.commands.detect import main

    assert main(["data/samples/chelsea.jpg", "--json", "-"]) == 0
    real = json.loads(capsys.readouterr().out)
    (shown,) = (json.loads(block) for block in blocks(ROOT / "docs" / "detect.md", "json"))
    assert list(shown) == list(real) and list(shown["detections"][0]) == list(real["detections"][0])


def module_names(page: Path) -> Iterator[str]:
    """Dotted names and paths of this project's code on a page."""
    for span in [*spans(page), *re.findall(r"^::: (\S+)", text(page), re.MULTILINE)]:
        words = [word for word in span.split() if "<" not in word and "*" not in word and "{" not in word]
        yield from (word for word in words if re.fullmatch(rf"({'|'.join(PACKAGES)})(/[\w.-]+)+/?", word))
        yield from (word for word in words if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", word))


@each_page
def test_modules_and_files_exist(page):
    wrong = []
    for found in module_names(page):
        if found in NOT_CHECKED or found.startswith("data/samples") or found in ("data.yaml", "data.py"):
            continue
        if "/" in found:
            wrong += [] if (ROOT / found).exists() else [found]
        elif not is_defined(found):
            wrong.append(found)
    assert not wrong


def is_defined(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name of one; without importing it."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module, _, attribute = dotted.rpartition(".")
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return False
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {target.id for node in ast.walk(tree) for target in getattr(node, "targets", []) if hasattr(target, "id")}
    names |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return attribute in names
