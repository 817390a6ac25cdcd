"""Wheel and sdist: what they hold, that two builds are equal, and the installed wheel's commands without the tree."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest

from tests.support.paths import ROOT
from tests.support.wheel import (
    PACKAGES,
    bare_environment,
    build_distributions,
    copy_of_the_sources,
    run,
)

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SAMPLE = ROOT / "data" / "samples" / "chelsea.jpg"
EPOCH = 1_700_000_000


class Built(NamedTuple):
    sources: Path
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    base = tmp_path_factory.mktemp("built")
    sources = copy_of_the_sources(base / "sources")
    files = build_distributions(shutil.copytree(sources, base / "tree"), base / "dist", epoch=EPOCH)
    sdist, wheel = sorted(files, key=lambda file: file.suffix == ".whl")
    return Built(sources, sdist, wheel)


@pytest.fixture(scope="module")
def commands(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the commands of the wheel, in an environment of its own."""
    return bare_environment(tmp_path_factory.mktemp("bare") / "env", built.wheel)


def package_files(sources: Path) -> set[str]:
    files = [file for name in PACKAGES for file in (sources / name).rglob("*")]
    return {file.relative_to(sources).as_posix() for file in files if file.is_file()}


def test_the_wheel_holds_every_file_of_the_packages(built: Built) -> None:
    names = {name for name in zipfile.ZipFile(built.wheel).namelist() if ".dist-info/" not in name}
    assert len(names) > 300 and any(name.endswith("model.bin") for name in names)
    assert names == package_files(built.sources)


def test_the_sdist_holds_what_builds_and_installs_it(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    folders = {*PACKAGES, "pelee.egg-info"}
    beside = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "constraints.txt", "pyproject.toml"}
    assert package_files(built.sources) | beside <= names
    assert {name.partition("/")[0] for name in names} == folders | beside | {"PKG-INFO", "setup.cfg"}


def test_two_builds_of_a_commit_give_the_same_wheel(built: Built, tmp_path: Path) -> None:
    """One from the sdist, one from a checkout of another time in another folder."""
    tree = shutil.copytree(built.sources, tmp_path / "elsewhere" / "tree")
    for file in tree.rglob("*"):
        os.utime(file, (EPOCH - 10**8, EPOCH - 10**8))
    (wheel,) = build_distributions(tree, tmp_path / "dist", "--wheel", epoch=EPOCH)
    assert wheel.name == built.wheel.name
    first, second = zipfile.ZipFile(built.wheel), zipfile.ZipFile(wheel)
    assert first.namelist() == second.namelist()
    assert [info.date_time for info in first.infolist()] == [info.date_time for info in second.infolist()]
    assert wheel.read_bytes() == built.wheel.read_bytes()


def test_the_metadata_is_valid_and_complete(built: Built) -> None:
    run([sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel], built.wheel.parent)
    archive = zipfile.ZipFile(built.wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    versions = [f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15)]
    assert set(versions) <= set(metadata.get_all("Classifier") or ())


def test_the_bare_environment_has_the_wheel_and_not_the_tree(commands: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(PACKAGES)}; print(*({', '.join(f'{name}.__file__' for name in PACKAGES)},), sep='\\n')"
    places = run([commands / "python", "-P", "-c", code], tmp_path).splitlines()
    assert len(places) == len(PACKAGES) and all(commands.parent in Path(place).parents for place in places)


def test_every_installed_command_prints_its_help(commands: Path, tmp_path: Path) -> None:
    for name in PROJECT["scripts"]:
        assert run([commands / name, "--help"], tmp_path).startswith(f"usage: {name}"), name


def test_the_installed_commands_detect_and_classify(commands: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    options: list[str | Path] = [SAMPLE, "--json", "-"]
    found = json.loads(run([commands / "pelee-detect", *options], tmp_path, XDG_CACHE_HOME=cache).splitlines()[0])
    assert [one["label"] for one in found["detections"]] == ["cat"]
    classes = run([commands / "pelee-classify", *options], tmp_path, XDG_CACHE_HOME=cache)
    assert "Egyptian cat" in classes


def test_the_installed_service_has_its_pages(commands: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [commands / "pelee-serve", "--port", "0", "--model", "peleenet-tiny-imagenet"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().partition(" at ")[2].partition(";")[0]
            assert address.startswith("http://127.0.0.1:"), address
            page = urlopen(address, timeout=60).read().decode()
            assert "<title>Pelee" in page
            assert urlopen(f"{address}/static/app.js", timeout=60).read()
        finally:
            server.send_signal(signal.SIGTERM)
            server.stdout.read()
    assert server.returncode == 0
