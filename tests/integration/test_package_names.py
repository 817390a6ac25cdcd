"""`import pelee` beside files and folders of the user with the names of Pelee's packages, in both kinds of install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

IMAGE = ROOT / "data" / "samples" / "chelsea.jpg"
DETECT = f"import pelee; print(len(pelee.Detector.load()({str(IMAGE)!r})), pelee.__file__)\n"


def run_script(folder: Path, code: str, place: Path | None) -> subprocess.CompletedProcess[str]:
    """Run code as a script in `folder`, with Pelee from `place`, or from the editable install for None."""
    (folder / "script.py").write_text(code)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(place)} if place else {})
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(params=["editable", pytest.param("wheel", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    if request.param == "wheel":
        found: Path = request.getfixturevalue("installed")
        return found
    done = run_script(tmp_path, "import pelee; print(pelee.__file__)", None)
    if done.stdout.strip() != str(ROOT / "pelee" / "__init__.py"):
        pytest.skip("no editable install of this tree")
    return None


@pytest.fixture(params=["modules", "packages", "folders"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of the user in which every name is taken, by modules, packages or folders of images."""
    for name in ("data", "weights", "detection", "serve"):
        if request.param == "modules":
            (tmp_path / f"{name}.py").write_text("raise RuntimeError('not ours')\n")
            continue
        (tmp_path / name).mkdir()
        if request.param == "packages":
            (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    return tmp_path


@pytest.mark.slow
def test_the_detector_is_found(folder: Path, place: Path | None) -> None:
    done = run_script(folder, DETECT, place)
    assert done.returncode == 0, done.stderr
    count, file = done.stdout.split()
    assert count == "1" and file == str((place or ROOT) / "pelee" / "__init__.py")


@pytest.mark.slow
def test_the_former_import_works_beside_data_and_weights(tmp_path: Path, place: Path | None) -> None:
    (tmp_path / "data.py").write_text("raise RuntimeError('not ours')\n")
    (tmp_path / "weights").mkdir()
    done = run_script(tmp_path, f"from detection import Detector; print(len(Detector.load()({str(IMAGE)!r})))", place)
    assert done.returncode == 0 and done.stdout == "1\n", done.stderr


def test_a_module_of_that_name_that_was_imported_before_is_told(tmp_path: Path, place: Path | None) -> None:
    (tmp_path / "data.py").write_text("")
    done = run_script(tmp_path, "import data, pelee", place)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: the module 'data' of ") and message.endswith("of that name; rename it")


def test_without_pelee_the_user_s_modules_are_theirs(tmp_path: Path, place: Path | None) -> None:
    (tmp_path / "data.py").write_text("mine = True\n")
    done = run_script(tmp_path, "import data; print(data.mine)", place)
    assert done.stdout == "True\n", done.stderr


def test_public_names() -> None:
    import pelee
    from detection.detector import Detector
    from pelee.classification.classifier import Classifier

    assert pelee.Detector is Detector and pelee.Classifier is Classifier
    with pytest.raises(AttributeError, match="no attribute 'Detectr'"):
        pelee.Detectr  # noqa: B018
