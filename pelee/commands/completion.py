"""Shell completion: the script with which bash, zsh or fish completes `pelee` and every `pelee-...` command."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SHELLS = ("bash", "zsh", "fish")
# A word of a metavar or of an argument's name -> completed by folders only.
FOLDERS = frozenset({"dir", "folder", "root", "output"})
# The same of values that are no paths.
VALUES = frozenset({"N", "S", "MB", "SCORE", "IOU", "SECONDS", "MINUTES", "NAME", "A,B", "hf://owner/name"})


def completion_script(shell: str, own: argparse.ArgumentParser, commands: Mapping[str, EntryPoint]) -> str:
    """Return the completion script of a shell.

    Args:
        shell: one of `SHELLS`.
        own: the parser of `pelee` with its own subcommands; the other commands are added to it.
        commands: the other commands by name, `pelee-detect` and so on; their modules are imported.
    """
    import shtab

    parsers = {name: command_parser(point) for name, point in commands.items()}
    (subcommands,) = (action for action in own._actions if isinstance(action, argparse._SubParsersAction))
    for name, parser in parsers.items():
        subcommands.add_parser(
            name.removeprefix("pelee-"),
            parents=[parser],
            add_help=False,
            prefix_chars=parser.prefix_chars,
            help=(parser.description or "").partition("\n")[0],
        )
    scripts = []
    for parser in (own, *parsers.values()):
        complete_paths(parser)
        script = shtab.complete(parser, shell)
        scripts.append(_sourced(script, parser.prog) if shell == "zsh" else script)
    return "\n".join(scripts)


def command_parser(point: EntryPoint) -> argparse.ArgumentParser:
    """Return the parser of a command: `build_parser` of its module, or of `<module>_arguments` beside it."""
    module = importlib.import_module(point.module)
    if not hasattr(module, "build_parser"):
        module = importlib.import_module(f"{point.module}_arguments")
    parser: argparse.ArgumentParser = module.build_parser()
    return parser


def complete_paths(parser: argparse.ArgumentParser) -> None:
    """Let arguments without choices complete files or folders, in the subcommands as well."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                complete_paths(inner)
        elif action.choices is None and action.nargs != 0 and _takes_paths(action):
            words = {action.dest, *str(action.metavar or "").lower().split("_")}
            action.complete = shtab.DIRECTORY if words & FOLDERS else shtab.FILE  # type: ignore[attr-defined]


def _takes_paths(action: argparse.Action) -> bool:
    numeric = action.type in (int, float) or isinstance(action.default, int | float)
    return not numeric and not (isinstance(action.metavar, str) and action.metavar in VALUES)


def _sourced(script: str, command: str) -> str:
    """Return a zsh script that registers its function wherever it is read; shtab's does so in `eval` alone."""
    body, condition, _ = script.rpartition("if [[ $zsh_eval_context[-1] == eval ]]")
    function = re.search(r"compdef (\w+) ", script)
    if not condition or function is None:
        raise RuntimeError(f"the zsh script of shtab for {command} has another end than expected")
    return f"{body.partition(chr(10))[2]}compdef {function[1]} {command}\n"
