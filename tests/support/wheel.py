"""The wheel of this tree, built and installed without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.test_imports import PACKAGES


def run(command: list[str | Path], cwd: Path, **environment: str) -> str:
    """Run a command that must succeed; returns its stdout."""
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**own, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def install_wheel(base: Path) -> Path:
    """Build the wheel from a copy of the tree and install it into a folder below `base`; returns the folder."""
    tree, site = base / "tree", base / "site"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", base, tree], base)
    (wheel,) = base.glob("*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", site, wheel], base)
    return site
