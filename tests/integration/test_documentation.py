"""README and docs: commands and Python blocks run, flags and modules exist, links resolve, tables agree with the code.

Commands in `bash` blocks run as they stand, on tiny data where they name large ones. Commands in `text` blocks and in
inline code (a GPU, a camera, hours) are only checked: the command exists and its help has the flags.
"""

import ast
import functools
import importlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from data.images.image_io import read_image, write_image
from tests.support.paths import ROOT
from weights.store import resolve

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("data", "weights", "pelee", "detection", "serve", "tests")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DETECTOR_RECIPES = "detection/training/recipes"
CLASSIFIER_RECIPES = "pelee/classification/training/recipes"
EXPERIMENTS = "detection/ablation/experiments"
SERVICE = "http://127.0.0.1:8000"
# Two steps at 64 px in place of hours: flags override a recipe, and the last of two flags counts.
SHORT = [
    "--max-steps=2",
    "--batch-size=2",
    "--input-size=64",
    "--size-phases=[]",
    "--workers=0",
    "--checkpoint-every=1",
]
QUICK = {
    "pelee-train": SHORT,
    "pelee-train-classifier": SHORT,
    "pelee-bench": ["--repeats=2", "--steps=1", "--batch-size=2"],
    "detection.commands.overfit": ["--steps=1", "--input-size=64"],
}
# Names like a command's: a module that is gone and stands with its commit, a pattern, and detectors.
NOT_CHECKED = ("pelee.classification.train", "pelee-a-b", "pelee-voc", "pelee-coco")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


@functools.cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> list[str]:
    """Inline code, with line breaks as spaces."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


class Command(NamedTuple):
    """A command of this project: its name, or its module for `python -m MODULE`, and its arguments."""

    name: str
    words: list[str]


def as_command(line: str) -> Command | None:
    """The command of this project in a line of shell; None for another program's."""
    line = line.rpartition(" | ")[2].partition(" > ")[0]
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an apostrophe in prose
        return None
    while words and re.match(r"[A-Z_]+=", words[0]):  # a variable of the environment
        words = words[1:]
    if words[:2] == ["python", "-m"] and words[2].partition(".")[0] in PACKAGES:
        return Command(words[2], words[3:])
    return Command(words[0], words[1:]) if words and words[0].startswith("pelee-") else None


def lines(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def commands(page: Path, language: str) -> list[Command]:
    found = [as_command(line) for block in blocks(page, language) for line in lines(block)]
    return [command for command in found if command is not None]


def mentioned(page: Path) -> list[Command]:
    """Every command of a page that does not run here: of text blocks and of inline code."""
    inline = [as_command(span) for span in spans(page)]
    return [*commands(page, "text"), *(command for command in inline if command is not None)]


def entry(command: str):
    """A command's `main`, by the scripts of pyproject.toml or by its module."""
    module, _, function = PROJECT["scripts"].get(command, f"{command}:main").partition(":")
    return getattr(importlib.import_module(module), function)


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
    shutil.copytree(yolo_root, tmp_path / "shapes")
    (tmp_path / "data").mkdir()
    shutil.copytree(ROOT / "data" / "samples", tmp_path / "data" / "samples")
    short_clip(tmp_path / "data" / "samples" / "bikes.mp4")
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
    monkeypatch.setattr(benchmark, "START_RUNS", 1)
    found = commands(page, "bash")
    if not any("runs/tiny" in command.words for command in found):  # made by another page
        shutil.copytree(ROOT / "weights" / "peleenet-tiny-imagenet", workplace / "runs" / "tiny" / "model")
    for command, words in found:
        if command == "pelee-serve":
            continue  # below, with its clients
        extra = [] if "--print-settings" in words else QUICK.get(command, [])
        # The tiny devkit has few classes and equal images, which the dataset check reports by exit code 1; one step of
        # the overfit check teaches nothing.
        expected = (0, 1) if words[:1] == ["check"] else (1,) if command.endswith("overfit") else (0,)
        assert entry(command)([*words, *extra]) in expected, (command, words, capsys.readouterr().err)
        for option, value in itertools.pairwise(words):
            if option == "--output":
                assert (workplace / value).exists(), (command, words)


def test_the_pages_run_the_main_commands():
    run = {command.name for page in PAGES for command in commands(page, "bash")}
    assert set(PROJECT["scripts"]) - run <= {"pelee-ablate", "pelee-search"}


@functools.cache
def options(command: str) -> frozenset[str]:
    """The options in a command's help, with those of its subcommands and of the trainer that it hands them on to."""
    if command in ("python", "make"):
        return frozenset()
    subcommands = {"pelee-data": ("check", "download", "prepare", "statistics")}.get(command, ())
    code = f"import sys; from tests.integration.test_documentation import entry; entry({command!r})(sys.argv[1:])"
    found: set[str] = set()
    for words in [["--help"], *([subcommand, "--help"] for subcommand in subcommands)]:
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "usage:" in done.stdout, (command, done.stderr)
        found.update(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", done.stdout))
    inner = {"pelee-ablate": "pelee-train", "pelee-search": "pelee-train-classifier"}.get(command)
    return frozenset(found | (options(inner) if inner else set()))


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


def shipped(folder: str) -> set[str]:
    """The names of the YAML files in a folder of the tree."""
    return {file.stem for file in (ROOT / folder).glob("*.yaml")}


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
        if found in NOT_CHECKED or found.startswith("data/samples") or found == "data.yaml":
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


# ---------------------------------------------------------------- links and tables


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@each_page
def test_links_resolve(page):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        inside = page.name == "README.md" or (ROOT / "docs") in target.parents
        if not target.exists() or not inside or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if (ROOT / "docs") in page.parents]
    assert sorted(navigation) == sorted(pages)


def test_the_readme_is_short():
    assert len(text(ROOT / "README.md").splitlines()) <= 150


def rows(page: Path, heading: str = "") -> list[list[str]]:
    """The cells of the tables of a page, or of the section with a heading."""
    content = text(page)
    if heading:
        content = re.split(r"^#+ ", content.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found = [line.strip("|").split(" | ") for line in content.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found if not set("".join(row)) <= set("-: |")]


def names_in(cells: list[str]) -> list[str]:
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("page", ["accuracy", "speed"])
def test_figures_of_the_readme_are_those_of_the_docs(page):
    figures = rows(ROOT / "docs" / "benchmarks" / f"{page}.md")
    first = {"accuracy": "VOC2007 test, whole", "speed": "openvino int8 CPU"}[page]
    (row,) = (row for row in rows(ROOT / "README.md") if row[0] == first)
    (measured, *_) = (cells for cells in figures if cells[0] == first)
    assert set(row) <= set(measured)


def test_the_extras_are_those_of_the_project():
    extras = set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"}
    table = rows(ROOT / "README.md", "Install")
    assert sorted(names_in([row[0] for row in table])) == sorted(extras)
    listed = re.findall(r"^pip install '\.\[(\w+)\]'", "\n".join(blocks(ROOT / "docs" / "install.md", "text")), re.M)
    assert set(listed) - {"all"} == extras - {"onnxruntime"}  # named beside `all`


def test_the_recipes_are_those_that_ship():
    page = ROOT / "docs" / "recipes.md"
    for heading, folder in (("Detector", DETECTOR_RECIPES), ("Classifier", CLASSIFIER_RECIPES)):
        _, *table = rows(page, heading)
        assert {names_in(row[:1])[0] for row in table} == shipped(folder)


def test_the_settings_of_the_service_have_these_defaults():
    from serve.settings import ServeSettings

    fields = ServeSettings.__dataclass_fields__
    _, *table = rows(ROOT / "docs" / "serve.md", "Settings")
    for cells in table:
        given = [flag.removeprefix("--").replace("-", "_") for flag in names_in(cells[:1]) if flag.startswith("--")]
        defaults = re.split(r", ", cells[1])
        if len(given) == len(defaults):
            for field, default in zip(given, defaults, strict=True):
                if re.fullmatch(r"[\d.]+", default):
                    assert str(fields[field].default).removesuffix(".0") == default, field


def test_the_endpoints_are_those_of_the_service():
    from serve.settings import ServeSettings
    from serve.web.app import create_app

    _, *table = rows(ROOT / "docs" / "serve.md", "Endpoints")
    paths = {word.split()[1] for cells in table for word in names_in(cells[:1])}
    assert paths == set(create_app(ServeSettings()).openapi()["paths"]) | {"/ws", "/openapi.json"}


def test_the_ingredients_are_settings():
    section = text(ROOT / "docs" / "train-detector.md").partition("## Optional ingredients\n")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z_]+)`", section)
    wrong = [setting for setting in named if f"--{setting.replace('_', '-')}" not in options("pelee-train")]
    assert len(named) >= 10 and not wrong


@pytest.mark.slow
def test_the_model_zoo_has_the_counts_of_the_code(capsys):
    from detection.commands.models import main

    assert main(["--json"]) == 0
    counted = {}
    for line in capsys.readouterr().out.splitlines():
        row = json.loads(line)
        side = row["input_shape"][2]
        counts = [f"{row['parameters']:,}", f"{row['report_parameters']:,}", f"{round(row['multiply_adds'] / 1e6):,} M"]
        counted[row["model"]] = [*counts, f"{side}×{side}"]
    table = {names_in(row[:1])[0]: row[1:5] for row in rows(ROOT / "docs" / "model-zoo.md") if names_in(row[:1])}
    assert table == counted


def folders(package: str) -> set[str]:
    """The folders of a package that have modules of their own beside `__init__`."""
    files = [path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    return {path.parent.relative_to(ROOT).as_posix() for path in files}


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_the_architecture_has_every_folder(package):
    _, *table = rows(ROOT / "docs" / "architecture.md", f"`{package}`")
    assert sorted(names_in(row[:1])[0] for row in table) == sorted(folders(package) | {package})


# ---------------------------------------------------------------- the site


class Loads(HTMLParser):
    """Collects what a page loads by itself: scripts, styles, fonts, images and frames; not its links."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.urls.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.urls.append(given.get("href") or "")


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_other_hosts(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    foreign = []
    for file in tmp_path.rglob("*.html"):
        page = Loads()
        page.feed(file.read_text(encoding="utf-8"))
        foreign += [(file.name, url) for url in page.urls if re.match(r"(\w+:)?//", url)]
    for file in tmp_path.rglob("*.css"):
        styles = file.read_text(encoding="utf-8")
        foreign += [
            (file.name, url) for url in re.findall(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)", styles)
        ]
    assert not foreign
    assert (tmp_path / "api" / "detection.html").read_text(encoding="utf-8").count("doc-heading") > 5
