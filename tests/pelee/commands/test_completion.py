import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pelee.commands.completion import SHELLS, command_parser, complete_paths, completion_script
from pelee.commands.pelee import build_parser
from tests.support.documentation import ENTRY_POINTS, PROJECT

# What is typed before the tab -> what the shell adds.
COMPLETIONS = {
    "pelee-detect --vid": "eo",
    "pelee detect --vid": "eo",
    "pelee-eval --dataset co": "co",
    "pelee doc": "tor",
    "pelee-data spl": "it",
    "pelee-classify street-of": "-mine.jpg",
}
CLEAR_LINE = "\x15"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        (folder / shell).write_text(completion_script(shell, build_parser(), ENTRY_POINTS), encoding="utf-8")
    return {shell: folder / shell for shell in SHELLS}


def program(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


class Terminal:
    """An interactive shell in a pseudo-terminal."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(command[0], command, {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb"})
        self.text = ""

    def type(self, keys: str) -> None:
        self.text = ""
        os.write(self.descriptor, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """Read until the pattern is printed."""
        end = time.monotonic() + 60
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"no {pattern!r} in {self.text!r}"
            if select.select([self.descriptor], [], [], 1)[0]:
                self.text += os.read(self.descriptor, 4096).decode(errors="replace")
        return self.text

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.descriptor)
        os.waitpid(self.pid, 0)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, scripts: dict[str, Path], tmp_path: Path):
    shell = request.param
    (tmp_path / "street-of-mine.jpg").touch()
    options = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    opened = Terminal([program(shell), *options], tmp_path)
    try:
        prepare = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u -D; "}[shell]
        opened.type(f"{prepare}source {scripts[shell]}; echo rea''dy\n")
        opened.wait_for("ready")
        yield opened
    finally:
        opened.close()


@pytest.mark.slow
def test_bash_and_zsh_complete(terminal: Terminal) -> None:
    for typed, rest in COMPLETIONS.items():
        terminal.type(f"{CLEAR_LINE}{typed}\t")
        terminal.wait_for(re.escape(typed + rest))


@pytest.mark.slow
def test_fish_completes(scripts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "street-of-mine.jpg").touch()
    asked = "; ".join([f"source {scripts['fish']}", *(f"complete -C '{line}'; echo ---" for line in COMPLETIONS)])
    done = subprocess.run(
        [program("fish"), "--no-config", "-c", asked],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answers = done.stdout.split("---\n")[:-1]
    for (line, rest), answer in zip(COMPLETIONS.items(), answers, strict=True):
        word = line.rpartition(" ")[2] + rest
        assert word in [offered.partition("\t")[0] for offered in answer.splitlines()], (line, answer, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_subcommand_is_in_the_script(shell: str, scripts: dict[str, Path]) -> None:
    script = scripts[shell].read_text(encoding="utf-8")
    for name in PROJECT["scripts"]:
        registered = {
            "bash": rf"^complete .* {name}$",
            "zsh": rf"^compdef \w+ {name}$",
            "fish": rf"^complete -c {name}(?= )",
        }[shell]
        assert re.search(registered, script, re.MULTILINE), name


def test_every_command_has_a_parser_of_its_name() -> None:
    assert ENTRY_POINTS
    for name, point in ENTRY_POINTS.items():
        assert command_parser(point).prog == name


def test_folders_and_files() -> None:
    import argparse

    import shtab

    parser = argparse.ArgumentParser()
    root = parser.add_argument("--root", metavar="DIR")
    file = parser.add_argument("--json", metavar="FILE")
    number = parser.add_argument("--steps", type=int)
    flag = parser.add_argument("--strict", action="store_true")
    chosen = parser.add_argument("--dataset", choices=("voc", "coco"))
    complete_paths(parser)
    assert root.complete == shtab.DIRECTORY and file.complete == shtab.FILE
    assert not any(hasattr(action, "complete") for action in (number, flag, chosen))
