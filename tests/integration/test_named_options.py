"""Options that messages, help and examples name are options of the commands, under their present names."""

import argparse
import ast
import re
from collections.abc import Iterator

import pytest

from pelee.commands import installed_models
from pelee.commands.completion import command_parser
from pelee.commands.pelee import build_parser
from tests.support.documentation import ENTRY_POINTS, PACKAGES
from tests.support.paths import ROOT

MODULES = [path for folder in PACKAGES if folder != "tests" for path in (ROOT / folder).rglob("*.py")]
# Of curl, Docker, torchrun, Ray and git.
OTHERS = {"--data-binary", "--shm-size", "--max-restarts", "--head", "--always", "--dirty", "--abbrev"}


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help is not argparse.SUPPRESS:
            yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options(inner)


def named(source: str) -> set[str]:
    """Options in the strings of a module, except docstrings and the names of deprecated options."""
    found, skipped = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr):
            skipped.add(node.value)
        elif isinstance(node, ast.Call) and re.search("add_hidden_alias|help=argparse.SUPPRESS", ast.unparse(node)):
            skipped.update(node.args)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            found |= set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", node.value))
    return found


def test_options_in_messages_exist() -> None:
    parsers = [build_parser(), installed_models.build_parser(), *map(command_parser, ENTRY_POINTS.values())]
    known = {option for parser in parsers for option in options(parser)} | OTHERS
    unknown = {path.relative_to(ROOT).as_posix(): named(path.read_text(encoding="utf-8")) - known for path in MODULES}
    assert {path: names for path, names in unknown.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ('raise E("give --pictures")', {"--pictures"}),
        ('def f():\n    """As --pictures."""', set()),
        ('add_hidden_alias(parser, "--pictures", dest="images")', set()),
    ],
)
def test_named_reads_messages_only(source: str, wanted: set[str]) -> None:
    assert named(source) == wanted
