"""JSON report of a command: to stdout or atomically to a file."""

import json
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.errors import SettingsError

STDOUT = "-"


def check_json_target(target: str | None) -> None:
    """Raise SettingsError for the value of `--json` that is a folder; call it before the work begins."""
    if target is not None and target != STDOUT and Path(target).is_dir():
        raise SettingsError(f"--json {target} is a folder; name a file, or - for stdout")


def write_json(target: str | None, content: Any, indent: int | None = None) -> None:
    """Write JSON, in ASCII, with a final newline to the file `target`, to stdout for "-", nowhere for None.

    NaN and infinity raise ValueError, as JSON has neither.
    """
    if target is None:
        return
    text = json.dumps(content, allow_nan=False, indent=indent)
    if target == STDOUT:
        print(text)
    else:
        with atomic_path(target) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
