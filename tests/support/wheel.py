"""Wheel and sdist of this tree, built and installed without a network."""

import os
import shutil
import subprocess
import sys
import sysconfig
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


def copy_of_the_sources(tree: Path) -> Path:
    """Copy the packages and the files that a build reads, without build outputs, into a new folder."""
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split("\0")
    for file in map(Path, filter(None, listed)):
        if (file.parts[0] in PACKAGES or len(file.parts) == 1) and (ROOT / file).is_file():
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, tree / file)
    return tree


def build_distributions(tree: Path, output: Path, *options: str, epoch: int) -> list[Path]:
    """Run `python -m build`; without options, the sdist and from it the wheel. Returns the files in `output`."""
    command: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", output, tree]
    run(command, tree.parent, SOURCE_DATE_EPOCH=str(epoch))
    return sorted(output.iterdir())


def bare_environment(folder: Path, wheel: Path) -> Path:
    """Install the wheel into a new virtual environment; returns its folder of commands.

    Of the environment of the tests it sees the dependencies, but not the editable install of this tree: a path in a
    .pth file is searched, and the .pth files in it are not read.
    """
    run([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    pip += ["--python", folder / "bin" / "python", "install", "--no-compile", "--ignore-installed"]
    run([*pip, "--no-deps", "--no-index", wheel], folder.parent)
    return folder / "bin"
