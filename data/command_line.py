"""Shared parts of the commands: the argument parser, number types for argparse, and `run`, which sets the exit code."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from data.errors import PeleeError
from data.standard_streams import prepare_standard_streams

WARNINGS_SHOWN = 5
# Module that a light install lacks -> extra of the package that installs it.
EXTRAS = {
    "albumentations": "train",
    "matplotlib": "train",
    "pycocotools": "train",
    "pydantic": "train",
    "pytorch_lightning": "train",
    "scipy": "train",
    "tensorboard": "train",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "yaml": "train",
    "mlflow": "mlflow",
    "optuna": "search",
    "trackers": "track",
    "nncf": "export",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "onnxruntime",
    "ai_edge_litert": "litert",
    "litert_torch": "litert",
    "ncnn": "ncnn",
    "pnnx": "ncnn",
    "huggingface_hub": "hub",
    "fastapi": "serve",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
    "fsspec": "ray",
    "pyarrow": "ray",
    "ray": "ray",
    "aiomqtt": "watch",
    "alembic": "watch",
    "httpx": "watch",
    "psycopg": "watch",
    "sqlalchemy": "watch",
}


def new_parser(prog: str, description: str, epilog: str = "", **options: Any) -> argparse.ArgumentParser:
    """Return a command's argument parser, whose description and epilog are printed as they are written.

    Args:
        prog: name of the command.
        description: first lines of `--help`.
        epilog: last lines of `--help`: examples, exit codes.
        **options: handed to `argparse.ArgumentParser`.
    """
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=epilog or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )


def positive_int(text: str) -> int:
    """Parse a whole number from 1, as the `type` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def non_negative_int(text: str) -> int:
    """Parse a whole number from 0, as the `type` of an argument."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def positive_float(text: str) -> float:
    """Parse a finite number above 0, as the `type` of an argument."""
    value = _float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def fraction(text: str) -> float:
    """Parse a number from 0 to 1, as the `type` of an argument."""
    value = _float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def word_list(text: str) -> list[str]:
    """Parse names with commas between, as the `type` of an argument; empty ones are left out."""
    return [word.strip() for word in text.split(",") if word.strip()]


def positive_int_list(text: str) -> list[int]:
    """Parse whole numbers from 1 with commas between, as the `type` of an argument."""
    return [positive_int(word) for word in word_list(text)]


def _float(text: str) -> float:
    """Return the number, or NaN, which is in no range, where the text is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def first_few(warnings: Sequence[str], elsewhere: str) -> list[str]:
    """Return the first `WARNINGS_SHOWN` lines; of more, add the number and `elsewhere`, where to find them."""
    more = len(warnings) - WARNINGS_SHOWN
    return [*warnings[:WARNINGS_SHOWN], *([f"{more} more; {elsewhere}"] if more > 0 else [])]


def missing_part(module: str, extra: str = "") -> str:
    """Return the error message for a module of `EXTRAS` that is not installed; `extra` is another that has it, too."""
    extra = extra or EXTRAS[module]
    return f"{module} is not installed, and this needs it; it comes with: pip install 'pelee[{extra}]'"


@contextmanager
def idle_blas_threads() -> Iterator[None]:
    """Import NumPy or OpenCV in the block: the threads of their OpenBLAS do not spin at the start.

    OpenBLAS starts a thread for each further core, and each spins for 2**26 cycles, some 30 ms, before it sleeps: a
    third of the time of NumPy's import, once for each core.
    """
    name = "OPENBLAS_THREAD_TIMEOUT"
    if name in os.environ:
        yield
        return
    os.environ[name] = "18"  # 0.1 ms: between calls that follow each other the threads stay awake
    try:
        yield
    finally:
        del os.environ[name]


def run(body: Callable[[], int], extra: str = "", in_place_of: Sequence[str] = ()) -> int:
    """Run a command's body and return its exit code.

    `extra` is named in place of those of `in_place_of`: the one that has all that the command needs.

    A `PeleeError`, an `OSError` or a missing module of `EXTRAS` prints one line on stderr and returns 2; ctrl-C returns
    130, a closed pipe (`| head`) 141. Any other exception is a bug and keeps its traceback.
    """
    prepare_standard_streams()
    try:
        return body()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PeleeError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        hint = "; free some space and run the command again" if error.errno == errno.ENOSPC else ""
        print(f"error: {error.strerror or error}{where}{hint}", file=sys.stderr)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        print(f"error: {missing_part(module, extra if EXTRAS[module] in in_place_of else '')}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 2
