"""JSON report of a command: to stdout or atomically to a file; checks of the target of `--json`."""

import json
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path, is_special_file
from data.errors import SettingsError
from data.standard_streams import was_closed

STDOUT = "-"
JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
_STDOUT_FILES = frozenset({"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})


def is_stdout(target: str | None) -> bool:
    """Whether a value of `--json` names stdout: "-", /dev/stdout, /dev/fd/1."""
    return target == STDOUT or target in _STDOUT_FILES


def check_json_target(target: str | None) -> None:
    """Raise SettingsError for an invalid value of `--json`; call it before the work begins.

    Invalid are a folder, and an existing file that holds something else than JSON: `--json a.jpg b.jpg` would replace
    an image. Files of `JSON_SUFFIXES` and empty files may be replaced; of a link the file that it leads to counts.
    """
    if is_stdout(target) and was_closed("stdout"):
        raise SettingsError(f"--json {target}: stdout is closed; name a file")
    if target is None or is_stdout(target):
        return
    path = Path(target)
    if path.is_dir():
        raise SettingsError(f"--json {target} is a folder; name a file, or - for stdout")
    if is_special_file(path) or not path.exists() or path.resolve().suffix.lower() in JSON_SUFFIXES:
        return
    if path.stat().st_size and not _is_json(path):
        raise SettingsError(f"--json {target} exists and is no JSON file; name another file, or - for stdout")


def _is_json(path: Path) -> bool:
    """Whether a file begins as a JSON object or array."""
    try:
        with path.open("rb") as file:
            return file.read(1024).lstrip()[:1] in (b"{", b"[")
    except OSError:
        return True  # opening it reports the error


def write_json(target: str | None, content: Any, indent: int | None = None) -> None:
    """Write JSON, in ASCII, with a final newline to the file `target`, to stdout for "-", nowhere for None.

    NaN and infinity raise ValueError, as JSON has neither.
    """
    if target is None:
        return
    text = json.dumps(content, allow_nan=False, indent=indent)
    if is_stdout(target):
        print(text)
    else:
        with atomic_path(target) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
