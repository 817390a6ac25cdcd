"""Provenance of a run: the commit of the code."""

import subprocess
from pathlib import Path


def current_commit() -> str:
    """The commit that the code is at, with a mark where it was changed since; "unknown" outside a checkout."""
    file = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(file.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        # An installed package may lie in the checkout of something else, whose commit would say nothing of it.
        ours = git("ls-files", file.name)
        return (ours and git("describe", "--always", "--dirty", "--abbrev=12")) or "unknown"
    except FileNotFoundError:  # no git
        return "unknown"
