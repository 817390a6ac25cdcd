"""Checks of `pelee doctor`, in the order of the report; a check that fails becomes a line of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pelee.diagnosis import machine, peripherals, software


class Fact(NamedTuple):
    """One line of the report.

    Attributes:
        name: name of the check.
        summary: the line, without the name.
        details: the same as plain JSON values.
    """

    name: str
    summary: str
    details: dict[str, Any]


Check = Callable[[], tuple[str, dict[str, Any]]]
CHECKS: dict[str, Check] = {
    "pelee": software.pelee,
    "python": software.python,
    "packages": software.packages,
    "optional": software.optional_packages,
    "environment": software.environment,
    "models": software.models,
    "cache": software.cache,
    "cpu": machine.cpu,
    "instructions": machine.instructions,
    "precision": machine.precision,
    "memory": machine.memory,
    "shared memory": machine.shared_memory,
    "gpu": machine.gpus,
    "openvino": software.openvino_devices,
    "display": peripherals.display,
    "cameras": peripherals.cameras,
    "codecs": peripherals.codecs,
}


def diagnose(checks: dict[str, Check] | None = None) -> Iterator[Fact]:
    """Run the checks and yield their facts one by one, so that a crash in a native library leaves the lines before it.

    Args:
        checks: the checks by name; `CHECKS` by default.

    Yields:
        A fact for each check. An exception of a check is its summary: "failed: ...", or "not installed: ...".
    """
    for name, check in (CHECKS if checks is None else checks).items():
        try:
            summary, details = check()
        except ModuleNotFoundError as error:
            summary, details = f"not installed: {error.name}", {"error": str(error)}
        except Exception as error:  # the report is for machines on which things fail
            first_line = next(iter(str(error).splitlines()), "")
            summary, details = f"failed: {type(error).__name__}: {first_line}", {"error": first_line}
        yield Fact(name, _without_home(summary), _without_home(details))


def _without_home(value: Any) -> Any:
    """Replace the home folder by `~` in all strings: reports are public, and it contains the user's name."""
    if isinstance(value, str):
        try:
            home = str(Path.home())
        except RuntimeError:  # no home folder
            return value
        return value if home == "/" else value.replace(home, "~")
    if isinstance(value, list):
        return [_without_home(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_home(item) for key, item in value.items()}
    return value
