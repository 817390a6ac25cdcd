"""`pelee`: list of the commands, version, shell completion, and a report on the installation and the machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.command_line import new_parser, run
from data.errors import did_you_mean
from pelee.commands.completion import SHELLS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OWN = ("doctor", "completion")  # what is no command of its own
EPILOG = """\
examples:
  pelee detect cat.jpg                        the same as pelee-detect cat.jpg
  pelee doctor                                facts for a bug report, one line each
  pelee doctor --json doctor.json
  pelee completion bash > ~/.pelee-completion.bash

exit codes: 0 done, 2 an error, in one line; of a command, its own
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    found = _commands()
    width = max(map(len, found), default=0)
    listed = "\n".join(f"  {name:{width}}  {_purpose(point)}" for name, point in found.items())
    parser = new_parser(
        prog="pelee",
        description=f"Pelee, a real-time object detector for a plain CPU.\n\ncommands:\n{listed}",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="more commands")
    doctor = commands.add_parser(
        "doctor",
        help="print versions, instruction sets, devices, folders, memory and codecs, for bug reports",
        description="Print facts about the installation and the machine, one line each, for bug reports.",
    )
    doctor.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write them as JSON to a file; to stdout without FILE or for -",
    )
    completion = commands.add_parser(
        "completion",
        help="print the shell's completion script of all commands",
        description="Print the completion script of all commands for a shell, which sources it at its start.",
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    found = _commands()
    if words and (point := found.get(f"pelee-{words[0]}")) is not None:
        sys.argv = [point.name, *words[1:]]  # a run records it
        return point.load()(words[1:])
    if not words:
        words = ["--help"]
    parser = build_parser()
    if not words[0].startswith("-") and words[0] not in OWN:
        parser.error(_unknown(words[0], [*(name.removeprefix("pelee-") for name in found), *OWN]))
    args = parser.parse_args(words)
    if args.command is None:
        parser.error("a command is missing; pelee --help lists them")
    return run(lambda: _completion(args.shell) if args.command == "completion" else _doctor(args.json))


def _unknown(word: str, names: Sequence[str]) -> str:
    """Return the error for a word that is no command: the nearest name, if any is near, else all names."""
    near = did_you_mean(word.removeprefix("pelee-"), names)
    return f"no command {word!r}; {near or 'expected one of ' + ', '.join(names)}"


def _completion(shell: str) -> int:
    from pelee.commands.completion import completion_script

    print(completion_script(shell, build_parser(), _commands()))
    return 0


def _doctor(target: str | None) -> int:
    from data.json_output import check_json_target, is_stdout, write_json
    from pelee.diagnosis.doctor import CHECKS, diagnose

    check_json_target(target)
    width, report = max(map(len, CHECKS)), {}
    for fact in diagnose():
        report[fact.name] = {"summary": fact.summary, **fact.details}
        if not is_stdout(target):
            print(f"{fact.name:{width}}  {fact.summary}", flush=True)
    write_json(target, report, indent=2)
    return 0


class _Version(argparse.Action):
    """`--version`; the metadata of the installation is read only for it."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from pelee.diagnosis.software import DISTRIBUTION, version_of

        print(f"pelee {version_of(DISTRIBUTION) or 'is not installed'}")
        parser.exit()


def _commands() -> dict[str, EntryPoint]:
    """Return the entry points of the other commands of this installation by name, in alphabetical order."""
    from importlib.metadata import PackageNotFoundError, distribution

    from pelee.diagnosis.software import DISTRIBUTION

    try:
        points = distribution(DISTRIBUTION).entry_points.select(group="console_scripts")
    except PackageNotFoundError:  # a checkout that is not installed
        return {}
    return {point.name: point for point in sorted(points, key=lambda point: point.name) if point.name != "pelee"}


def _purpose(point: EntryPoint) -> str:
    """Return the first line of the docstring of a command's module, which is not imported, without the name."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec(point.module)
    if spec is None or spec.origin is None:
        return "not installed"
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].partition(": ")[2].rstrip(".")
