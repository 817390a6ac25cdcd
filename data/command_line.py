"""What every command of the project does with the errors that reach its end."""

import errno
import os
import sys
from collections.abc import Callable, Sequence

from data.errors import PeleeError

WARNINGS_SHOWN = 5
# Which extra of the package brings a module that a light install lacks.
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
    "fastapi": "serve",
    "prometheus_client": "serve",
    "pydantic_settings": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
}


def first_few(warnings: Sequence[str], elsewhere: str) -> list[str]:
    """The first five lines, and where there are more a line that says how many, and `elsewhere` they all stand."""
    more = len(warnings) - WARNINGS_SHOWN
    return [*warnings[:WARNINGS_SHOWN], *([f"{more} more; {elsewhere}"] if more > 0 else [])]


def missing_part(module: str) -> str:
    """What to say where one of `EXTRAS` is not installed."""
    return f"{module} is not installed, and this needs it; it comes with: pip install 'pelee[{EXTRAS[module]}]'"


def run(body: Callable[[], int]) -> int:
    """Run a command's body and return its exit code.

    A `PeleeError`, an error of the file system or a part that is not installed is one line on stderr and exit code 2,
    ctrl-C is 130; anything else is a bug and keeps its traceback. A reader that closed the pipe (`| head`) ends the
    command quietly.
    """
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
        print(f"error: {missing_part(module)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 2
