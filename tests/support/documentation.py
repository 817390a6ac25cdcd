"""Pages of the documentation: their text, code blocks, inline code and commands."""

import functools
import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("data", "weights", "pelee", "detection", "serve", "tests")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY_POINTS = {
    name: metadata.EntryPoint(name, target, "console_scripts")
    for name, target in sorted(PROJECT["scripts"].items())
    if name != "pelee"
}
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
    "--no-export",
]
QUICK = {
    "pelee-train": SHORT,
    "pelee-train-classifier": SHORT,
    "pelee-bench": ["--runtime=openvino", "--repeats=2", "--steps=1", "--batch-size=2"],
    "detection.training.overfit_check": ["--steps=1", "--input-size=64"],
}
# Names like a command's: a module that is gone and stands with its commit, a pattern, and detectors.
NOT_CHECKED = (
    "pelee.classification.train",
    "pelee-a-b",
    "pelee-voc",
    "pelee-coco",
    "pelee-port",
    "pelee-port-voc",
    "pelee-port-coco",
)


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
    return Command(words[0], words[1:]) if words and re.match(r"pelee(-|$)", words[0]) else None


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


@functools.cache
def options(command: str) -> frozenset[str]:
    """The options in a command's help, with those of its subcommands and of the trainer that it hands them on to."""
    if command in ("python", "make"):
        return frozenset()
    subcommands = {
        "pelee-data": ("check", "convert", "download", "pack", "prepare", "split", "statistics"),
        "pelee": ("doctor", "completion"),
        "pelee-models": ("add", "remove", "show", "push"),
    }.get(command, ())
    code = f"import sys; from tests.support.documentation import entry; entry({command!r})(sys.argv[1:])"
    found: set[str] = set()
    for words in [["--help"], *([subcommand, "--help"] for subcommand in subcommands)]:
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "usage:" in done.stdout, (command, done.stderr)
        found.update(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", done.stdout))
    inner = {"pelee-ablate": "pelee-train", "pelee-search": "pelee-train-classifier"}.get(command)
    return frozenset(found | (options(inner) if inner else set()))


def shipped(folder: str) -> set[str]:
    """The names of the YAML files in a folder of the tree."""
    return {file.stem for file in (ROOT / folder).glob("*.yaml")}
