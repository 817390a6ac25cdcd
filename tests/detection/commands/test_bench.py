"""`pelee-bench`: flags, errors and a whole run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data.images.image_io import write_image
from detection.benchmark import end_to_end, latency
from detection.commands import bench
from tests.conftest import TrainedRun
from tests.support.rectangle_session import picture


@pytest.fixture
def photo(tmp_path: Path) -> str:
    write_image(tmp_path / "photo.png", picture())
    return str(tmp_path / "photo.png")


@pytest.mark.parametrize("text", ["", "<!-- bench:start -->", "<!-- bench:end --> <!-- bench:start -->"])
def test_markdown_without_marks_is_an_error_before_the_work(
    tmp_path: Path, photo: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "measure", lambda options: pytest.fail("the work began"))
    (tmp_path / "speed.md").write_text(text)
    assert bench.main([photo, "--markdown", str(tmp_path / "speed.md")]) == 2
    assert "bench:start" in capsys.readouterr().err
    assert (tmp_path / "speed.md").read_text() == text


@pytest.mark.slow
def test_the_command_with_a_split(
    photo: str,
    voc_root: Path,
    trained_run: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(latency, "SECONDS", 0.05)
    monkeypatch.setattr(
        end_to_end, "run_command", lambda words: {"first_line_s": 0.5, "seconds": 0.6, "memory_mb": 123.4}
    )
    page, numbers = tmp_path / "speed.md", tmp_path / "bench.json"
    page.write_text("<!-- bench:start -->\n<!-- bench:end -->\n")
    options = ["--weights", str(trained_run.output / "model"), "--runtime", "torch,onnxruntime", "--precision", "f32"]
    options += ["--repeats", "2", "--batch", "1,2", "--dataset", "voc", "--root", str(voc_root), "--split", "val"]
    assert bench.main([photo, *options, "--json", str(numbers), "--markdown", str(page)]) == 0
    text = capsys.readouterr().out
    assert text.strip() in page.read_text()
    found = json.loads(numbers.read_text())
    assert sorted((row["name"], row["batch"]) for row in found["networks"]) == [
        ("torch f32 cpu", 1),
        ("torch f32 cpu", 2),
    ]
    (alone,) = [row for row in found["networks"] if row["batch"] == 1]
    assert alone["memory_mb"] == 123.4 and 0 <= alone["map_11point"] <= 100 and alone["in_flight_pictures_per_s"] > 0
    assert len(found["absent"]) == 1 and found["absent"][0].startswith("onnxruntime f32: ")
    assert found["start"]["help_s"] == 0.6 and "0.50 s from shell to first line" in text


@pytest.mark.slow
def test_a_folder_without_images_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_an_unknown_baseline_is_one_line(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([photo, "--runtime", "", "--against", "everyone"]) == 2
    assert "expected one of eager, torchvision" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--root", "x"], ["--training"], ["--dataset", "voc"], ["--batch", "0"], ["--repeats", "-1"]]
)
def test_wrong_usage(options: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(["photo.jpg", *options])
    assert stop.value.code == 2


@pytest.mark.slow
def test_help_is_instant() -> None:
    code = (
        "import sys\nfrom detection.commands import bench\n"
        "try:\n    bench.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'cv2', 'torch', 'openvino', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
