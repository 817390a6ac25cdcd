"""`pelee-batch`: help without Ray, errors in one line, and a run from folder to Parquet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from detection.commands.batch import main
from tests.support.paths import ROOT, SAMPLES
from tests.test_imports import without

pq = pytest.importorskip("pyarrow.parquet")


def test_the_help_imports_neither_ray_nor_pyarrow() -> None:
    code = (
        "import sys\nfrom detection.commands.batch import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n"
        "    print(sorted({'ray', 'pyarrow', 'pandas', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: pelee-batch") and done.stdout.endswith("[]\n")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["ray", "pyarrow"])
def test_without_ray_the_extra_is_named(module: str) -> None:
    code = "from detection.commands.batch import main\nsys.exit(main(['data/samples', '--output', '/nonexistent/x']))"
    done = without((module,), code)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "pelee[ray]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["absent"], "error: absent: no such file or folder"),
        (["absent", "--weights", "pelee-pets"], "error: 'pelee-pets' is neither"),
        (["absent", "--classes", "unicorn"], "error: unknown class 'unicorn'"),
        (["absent", "--tiles", "0"], "error: "),
    ],
)
def test_errors_are_one_line_before_ray_starts(tmp_path: Path, capsys, arguments: list[str], line: str) -> None:
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(line) and printed.count("\n") == 1


def test_a_folder_of_another_run_is_refused(tmp_path: Path, capsys) -> None:
    assert main(["absent", "--output", str(tmp_path)]) == 2
    capsys.readouterr()
    assert main(["absent", "--output", str(tmp_path), "--conf", "0.77"]) == 2
    assert "holds results with confidence" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_becomes_parquet_and_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "detection.commands.batch", str(SAMPLES), "--output", str(tmp_path / "out")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = run()
    assert done.returncode == 0 and done.stdout == "", done.stderr
    (line,) = done.stderr.splitlines()  # and none of Ray's
    assert line.startswith("2 images in ") and line.endswith(f"images/s: {tmp_path}/out")
    assert sorted(pq.read_table(tmp_path / "out")["source"].to_pylist()) == sorted(map(str, SAMPLES.glob("*.jpg")))
    again = run()
    assert (again.returncode, again.stderr) == (0, "1 of 1 parts are there\n")
    assert not list(tmp_path.glob("pelee-ray-*"))
