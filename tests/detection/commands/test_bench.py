"""`pelee-bench` times what really runs, in turns, and says what is absent."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import SettingsError
from data.images.image_io import write_image
from detection.benchmark import end_to_end as bench_runs
from detection.benchmark import latency as bench_speed
from detection.benchmark import report as bench_report
from detection.benchmark.latency import ROUND_WARMUP_CALLS, ROUNDS, WARMUP_CALLS, BenchmarkCase
from detection.commands import bench as benchmark
from detection.detector import Detector
from tests.conftest import TrainedRun
from tests.support.rectangle_session import RectangleRuntime, clip, make_card, make_detector, picture


@pytest.fixture
def photo(tmp_path: Path) -> str:
    write_image(tmp_path / "photo.png", picture())
    return str(tmp_path / "photo.png")


def test_contenders_take_turns_and_each_is_timed_as_often_as_asked() -> None:
    calls: list[str] = []
    sizes: set[int] = set()

    def case(name: str, seconds: float, batch: int) -> BenchmarkCase:
        def call(images: list[np.ndarray]) -> None:
            calls.append(name)
            sizes.add(len(images))
            time.sleep(seconds)

        return BenchmarkCase(name, batch, call)

    quick, slow = case("quick", 0.001, 1), case("slow", 0.01, 3)
    bench_speed.time_calls([quick, slow], [picture(), picture()], repeats=12)
    assert len(quick.times) == len(slow.times) == 12 and sizes == {1, 3}
    assert calls.count("quick") == calls.count("slow") == WARMUP_CALLS + ROUNDS * ROUND_WARMUP_CALLS + 12
    turns = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert turns == ["quick", "slow"] * (1 + ROUNDS)
    assert min(slow.times) >= 0.01 and min(quick.times) >= 0.001


def test_only_calls_that_count_are_in_the_stages() -> None:
    detector = make_detector()
    case = BenchmarkCase("ours", 1, bench_speed._finder(detector), detector)
    bench_speed.time_calls([case], [picture()], repeats=7)
    assert isinstance(detector.runtime, RectangleRuntime)
    assert len(detector.runtime.batches) == WARMUP_CALLS + ROUNDS * ROUND_WARMUP_CALLS + 7
    assert {name: len(times) for name, times in detector.timer._times.items()} == {
        "preprocess": 7,
        "network": 7,
        "postprocess": 7,
    }


def test_a_row_by_hand() -> None:
    row = BenchmarkCase("x", 4, lambda images: None, times=[0.01, 0.02, 0.03, 0.04, 0.10], rates=[5, 7, 100]).row()
    assert row == {
        "name": "x",
        "batch": 4,
        "p50_ms": 30,
        "p95_ms": pytest.approx(88),  # between 40 and 100, at 0.8
        "pictures_per_s": 100,  # 20 pictures in 0.2 s
        "in_flight_pictures_per_s": 7,
    }


class TwoAtOnce(RectangleRuntime):
    """Works on two pictures at once, 10 ms each."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPoolExecutor(2)
        self.flying = self.most = 0
        self._lock = threading.Lock()

    def submit(self, images: np.ndarray) -> Future[Any]:
        with self._lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
        return self.pool.submit(self._work)

    def _work(self) -> None:
        time.sleep(0.01)
        with self._lock:
            self.flying -= 1


def test_the_bare_network_is_kept_full() -> None:
    runtime = TwoAtOnce()
    rate = bench_speed.async_throughput(Detector(runtime, make_card()), 0.3)
    runtime.pool.shutdown()
    assert 20 < rate <= 200
    assert runtime.most == runtime.parallel + 1


def test_what_is_absent_is_named_and_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(RectangleRuntime):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def load(model: str, *, runtime: str, device: str, precision: str, mode: str = "latency") -> Detector:
        if (model, runtime, precision) not in {("a", "torch", "f32"), ("b", "openvino", "f32"), ("a", "torch", "bf16")}:
            raise SettingsError(f"no {runtime} {precision} in {model}")
        return Detector(Named(f"{runtime} {precision} {mode}"), make_card())

    monkeypatch.setattr(Detector, "load", load)
    found, absent = bench_speed.own_cases(["a", "b"], ["openvino", "torch"], ["int8", "f32"], "cpu", [1, 8])
    assert [(one.name, one.batch) for one in found] == [
        ("openvino f32 latency", 1),
        ("openvino f32 latency", 8),
        ("torch f32 latency", 1),
        ("torch f32 latency", 8),
    ]
    assert absent == ["openvino int8: no openvino int8 in a", "torch int8: no torch int8 in a"]
    assert found[0].flags() == ["--weights", "b", "--runtime", "openvino", "--device", "cpu", "--precision", "f32"]
    assert found[0].load("throughput").runtime.name == "openvino f32 throughput"


def test_suppression_is_timed_at_both_thresholds() -> None:
    times = bench_speed.time_nms(make_detector(), [picture(), picture(50, 60, (5, 5, 30, 30))], 3)
    assert set(times) == {"default", "worst_at_0.01"} and all(0 < value < 1000 for value in times.values())


def test_the_machine_is_described() -> None:
    machine = bench_report.describe_machine()
    assert machine["versions"]["numpy"] == np.__version__
    assert machine["cores"] >= 1 and machine["processor"]


RESULT: dict[str, Any] = {
    "machine": {"processor": "CPU", "cores": 2, "system": "OS", "python": "3", "versions": {"numpy": "2"}, "load": 0.1},
    "settings": {"repeats": 50, "warm_up": 5, "rounds": 5, "pictures": 3},
    "networks": [
        {"name": "a", "batch": 1, "p50_ms": 5.0, "p95_ms": 6.0, "pictures_per_s": 200.0, "stages_ms": {"network": 4.5}},
        {"name": "b", "batch": 4, "p50_ms": 60.0, "p95_ms": 70.0, "pictures_per_s": 66.7, "memory_mb": 99.6},
    ],
    "absent": ["onnxruntime f32: not here"],
    "video": {
        "frames": 100,
        "runtime": "a",
        "stages_ms": {"decode": 1.0},
        "rates": {
            "decoder": 800.0,
            "network": 400.0,
            "pipeline": 380.0,
            "pipeline drawn": 300.0,
            "command": 200.0,
            "command drawn": 100.0,
        },
    },
}


def cells(text: str, first: str) -> list[str]:
    """The row of a table that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_by_hand() -> None:
    text = bench_report.to_markdown(RESULT)
    assert cells(text, "a ") == ["a", "1", "5.00", "6.00", "4.50", "200.0", "", "1.00×", ""]
    assert cells(text, "b ") == ["b", "4", "60.00", "70.00", "", "66.7", "", "3.00×", "100"]  # 15 ms a picture: 3 × 5
    assert "absent: onnxruntime f32: not here" in text and "busy" not in text
    assert cells(text, "the decoder")[1:] == ["800.0", "0.12", "200 %"]
    assert cells(text, "`pelee-detect --json`, once")[1:] == ["380.0", "0.26", "95 %"]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in tables[:4]}) == 1  # reads as text, too
    busy = RESULT | {"machine": RESULT["machine"] | {"load": 3.0}}
    assert "busy (load 3.0)" in bench_report.to_markdown(busy)


def test_markdown_keeps_the_text_around_the_tables(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- bench:start -->\nold\n<!-- bench:end -->\nafter\n")
    for _ in range(2):
        bench_report.write_between(page, "new\n")
        assert page.read_text() == "before\n<!-- bench:start -->\nnew\n<!-- bench:end -->\nafter\n"


@pytest.mark.parametrize("text", ["", "<!-- bench:start -->", "<!-- bench:end --> <!-- bench:start -->"])
def test_markdown_without_marks_is_an_error_before_the_work(
    tmp_path: Path, photo: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "measure", lambda options: pytest.fail("the work began"))
    (tmp_path / "speed.md").write_text(text)
    assert benchmark.main([photo, "--markdown", str(tmp_path / "speed.md")]) == 2
    assert "bench:start" in capsys.readouterr().err
    assert (tmp_path / "speed.md").read_text() == text


def test_start_and_memory_are_those_of_a_new_process(photo: str, trained_run: TrainedRun) -> None:
    ballast = np.ones(1 << 27, np.uint8)  # ours, which the child's peak must not begin with
    measured = bench_runs.run_command([photo, "--weights", str(trained_run.output / "model"), "--json", "-"])
    assert 0.2 < measured["first_line_s"] <= measured["seconds"] < 120
    assert 50 < measured["memory_mb"] < 8000
    assert bench_runs.run_command(["--help"])["memory_mb"] < 60 < len(ballast) / 2**20


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        bench_runs.run_command(["absent.jpg"])
    assert error.value.returncode == 2 and "absent.jpg" in error.value.stderr


def test_a_whole_video_beside_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = str(clip(tmp_path / "clip.mp4", frames=9))
    commands: list[list[str]] = []

    def command(arguments: list[str]) -> dict[str, float]:
        commands.append(arguments)
        return {"seconds": 0.5}

    monkeypatch.setattr(bench_runs, "run_command", command)
    monkeypatch.setattr(Detector, "load", lambda name, mode: make_detector())
    found = bench_runs.time_video(video, "any", rounds=2, seconds=0.05)
    assert found["frames"] == 9 and found["runtime"] == "rectangles"
    assert list(found["rates"]) == ["decoder", "network", "pipeline", "pipeline drawn", "command", "command drawn"]
    assert found["rates"]["command"] == 18 and all(rate > 0 for rate in found["rates"].values())
    assert set(found["stages_ms"]) == {"decode", "preprocess", "network", "postprocess", "draw", "encode"}
    assert len(commands) == 6 and all(words[:3] == [video, "--weights", "any"] for words in commands)
    assert ["--output" in words for words in commands] == [False, True] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_training_is_timed_over_the_steps_asked_for(voc_root: Path) -> None:
    rate = bench_runs.time_training(voc_root, "2007-trainval", "fp32", steps=2, batch_size=2)
    assert 0.01 < rate < 10_000


def test_the_command_with_a_split(
    photo: str,
    voc_root: Path,
    trained_run: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench_speed, "SECONDS", 0.05)
    monkeypatch.setattr(
        bench_runs, "run_command", lambda words: {"first_line_s": 0.5, "seconds": 0.6, "memory_mb": 123.4}
    )
    page, numbers = tmp_path / "speed.md", tmp_path / "bench.json"
    page.write_text("<!-- bench:start -->\n<!-- bench:end -->\n")
    options = ["--weights", str(trained_run.output / "model"), "--runtime", "torch,onnxruntime", "--precision", "f32"]
    options += ["--repeats", "2", "--batch", "1,2", "--dataset", "voc", "--root", str(voc_root), "--split", "val"]
    assert benchmark.main([photo, *options, "--json", str(numbers), "--markdown", str(page)]) == 0
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


def test_a_folder_without_pictures_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_opponent_is_one_line(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([photo, "--runtime", "", "--against", "everyone"]) == 2
    assert "expected one of eager, torchvision" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--root", "x"], ["--training"], ["--dataset", "voc"], ["--batch", "0"], ["--repeats", "-1"]]
)
def test_wrong_usage(options: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["photo.jpg", *options])
    assert stop.value.code == 2


def test_help_is_instant() -> None:
    code = (
        "import sys\nfrom detection.commands import bench as benchmark\n"
        "try:\n    benchmark.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'cv2', 'torch', 'openvino', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
