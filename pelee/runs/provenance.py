"""Provenance of a run: the commit of the code."""

import subprocess
from pathlib import Path


def current_commit() -> str:
    """Return the commit of the code, with "-dirty" if files were changed since; "unknown" outside a checkout."""
    file = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(file.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        # An installed package may lie in the checkout of another project, whose commit would be wrong.
        ours = git("ls-files", file.name)
        return (ours and git("describe", "--always", "--dirty", "--abbrev=12")) or "unknown"
    except FileNotFoundError:  # no git
        return "unknown"
