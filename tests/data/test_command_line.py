"""Exit codes, one line on stderr, and a traceback for bugs only."""

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from data.command_line import (
    first_few,
    fraction,
    idle_blas_threads,
    new_parser,
    non_negative_int,
    positive_float,
    positive_int,
    positive_int_list,
    run,
    word_list,
)
from data.errors import DatasetError, ImageError, PeleeError, SettingsError, WeightsError


def raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


@pytest.mark.parametrize("code", [0, 1])
def test_the_body_s_code_is_returned(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: code) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [PeleeError, ImageError, DatasetError, WeightsError, SettingsError])
def test_a_user_s_error_is_one_line_and_2(kind: type[PeleeError], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(kind("a.jpg: not an image"))) == 2
    assert capsys.readouterr() == ("", "error: a.jpg: not an image\n")


def test_an_error_of_the_file_system_names_the_file_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(FileNotFoundError(errno.ENOENT, "No such file or directory", "x.json"))) == 2
    assert capsys.readouterr().err == "error: No such file or directory: x.json\n"
    assert run(raising(OSError(errno.ENOSPC, "No space left on device"))) == 2
    assert capsys.readouterr().err == "error: No space left on device; free some space and run the command again\n"


@pytest.mark.parametrize(
    ("module", "options", "extra"),
    [
        ("torch.nn", (), "train"),
        ("torch", ("export", ("train",)), "export"),
        ("onnxruntime", ("export", ("train",)), "onnxruntime"),
    ],
)
def test_a_missing_module_is_one_line_with_the_extra_that_the_command_needs(
    module: str, options: tuple, extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    assert run(body, *options) == 2
    assert capsys.readouterr().err.endswith(f"pip install 'pelee[{extra}]'\n")


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently")
def test_a_closed_pipe_ends_quietly() -> None:
    code = "from data.command_line import run\ndef body():\n  while True: print('line')\nraise SystemExit(run(body))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


@pytest.mark.slow
def test_importing_data_brings_nothing_heavy() -> None:
    code = (
        "import sys, data.command_line, data.atomic_files, data.datasets.registry, data.images.image_io\n"
        "import data.images.preprocess, data.augmentation.ssd\n"
        "print([name for name in ('torch', 'albumentations', 'matplotlib', 'pycocotools', 'supervision', 'scipy')"
        " if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_of_many_warnings_five_are_shown_and_the_rest_counted():
    assert first_few(["a", "b", "c", "d", "e"], "see the list") == ["a", "b", "c", "d", "e"]
    assert first_few(list("abcdefg"), "see the list") == ["a", "b", "c", "d", "e", "2 more; see the list"]


@pytest.mark.parametrize(
    ("parse", "good", "value", "bad"),
    [
        (positive_int, "3", 3, ["0", "-1", "x", "1.5", ""]),
        (non_negative_int, "0", 0, ["-1", "x", ""]),
        (positive_float, "0.5", 0.5, ["0", "-1", "inf", "nan", "x"]),
        (fraction, "1", 1.0, ["-0.1", "1.1", "nan", "x"]),
        (positive_int_list, "1, 8,", [1, 8], ["1,0", "x"]),
        (word_list, "a, b ,,c", ["a", "b", "c"], []),
    ],
)
def test_types_of_arguments(parse: Callable[[str], object], good: str, value: object, bad: list[str]) -> None:
    assert parse(good) == value
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=" is no "):
            parse(text)


def test_the_epilog_is_printed_as_it_is_written() -> None:
    text = new_parser("pelee-x", "Do x.", "examples:\n  pelee-x a\n  pelee-x b\n").format_help()
    assert "Do x." in text and text.endswith("examples:\n  pelee-x a\n  pelee-x b\n")


def test_blas_threads_sleep_soon_where_the_user_says_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "OPENBLAS_THREAD_TIMEOUT"
    monkeypatch.delenv(name, raising=False)
    with idle_blas_threads():
        assert 4 <= int(os.environ[name]) < 26  # OpenBLAS: 4 to 30, 26 by default
    assert name not in os.environ
    monkeypatch.setenv(name, "10")
    with idle_blas_threads():
        assert os.environ[name] == "10"
    assert os.environ[name] == "10"
