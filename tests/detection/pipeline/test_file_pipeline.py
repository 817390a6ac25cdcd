"""The pipeline against image by image: the same lines in the same order, within bounds, ended by its own errors."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detection import drawing
from detection.detector import Detector
from detection.inference.options import DetectionOptions
from detection.inference.result_formats import to_json_line
from detection.pipeline import file_pipeline as pipeline
from detection.pipeline.annotated_copies import ImageCopies, VideoCopies
from detection.pipeline.file_pipeline import WAITING, Pipeline
from detection.pipeline.inputs import InputSource, collect
from detection.pipeline.run_config import RunConfig, RunState
from detection.pipeline.sinks import JsonLines, Sink
from detection.video.frames import Frame
from detection.video.video_file import VideoFile
from detection.video.video_writer import VideoWriter
from tests.support.detect_fixtures import make_photos
from tests.support.rectangle_session import RectangleRuntime, clip, make_detector, picture

PARALLEL = 3


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = {thread for thread in threading.enumerate()}
    yield
    left = set(threading.enumerate()) - before
    assert not [thread.name for thread in left if not thread.name.startswith("fake")]


class UnevenRuntime(RectangleRuntime):
    """Works on three batches at once and is done with them in any order."""

    parallel = PARALLEL
    batch = 1

    def __init__(self, slowest: float = 0.006) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="fake")
        self._random = random.Random(5)
        self._slowest = slowest
        self.flying = self.most_flying = 0
        self._lock = threading.Lock()

    def submit(self, images: np.ndarray) -> Future[tuple[np.ndarray, np.ndarray]]:
        with self._lock:
            self.flying += 1
            self.most_flying = max(self.most_flying, self.flying)
        return self._pool.submit(self._late, images, self._random.uniform(0, self._slowest))

    def _late(self, images: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(seconds)
        with self._lock:
            self.flying -= 1
        return self(images)


class Quiet:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int | None]] = []
        self.steps = 0
        self.problems: list[str] = []

    def start(self, name: str, total: int | None) -> None:
        self.started.append((name, total))

    def advance(self) -> None:
        self.steps += 1

    def problem(self, line: str) -> None:
        self.problems.append(line)

    def note(self, line: str) -> None:
        self.problems.append(f"note: {line}")


def make(
    detector: Detector,
    write_line: Callable[[str], Any] | None,
    output: Path | None = None,
    every: int = 1,
    snapshot_every: float | None = None,
) -> Pipeline:
    sinks: list[Sink] = []
    if output is not None:
        sinks.append(ImageCopies(output, detector.timer))
    if write_line is not None:
        sinks.append(JsonLines(write_line, detector.class_names))
    if output is not None:
        sinks.append(VideoCopies(output, detector.timer, snapshot_every))
    return Pipeline(RunConfig(detector, every), RunState(DetectionOptions(confidence=0.3)), sinks, Quiet())


def one_by_one(*paths: str) -> list[str]:
    """What the detector says when each image goes through alone."""
    detector = make_detector()
    lines = []
    for path in paths:
        if path.endswith(".mp4"):
            with VideoFile(path) as source:
                frames = [(frame.index, frame.time, frame.image.copy()) for frame in source]
        else:
            frames = [(0, None, detector.read(path))]
        for index, moment, image in frames:
            (found,) = detector.predict_batch([image], 0.3)
            height, width = image.shape[:2]
            lines.append(to_json_line(path, index, width, height, found, detector.class_names, time=moment))
    return lines


@pytest.fixture
def runtime() -> Iterator[UnevenRuntime]:
    runtime = UnevenRuntime()
    yield runtime
    runtime._pool.shutdown()


@pytest.fixture
def detector(runtime: UnevenRuntime) -> Detector:
    detector = make_detector()
    detector.runtime = runtime
    return detector


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(clip(Path("film.mp4"), frames=60))


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [False, True])
def test_a_video_gives_what_it_gives_frame_by_frame(film: str, detector: Detector, drawn: bool) -> None:
    lines: list[str] = []
    run = make(detector, lines.append, Path("out") if drawn else None)
    run.run(collect([film], [], None)[0])
    assert lines == one_by_one(film)
    assert len({json.dumps(json.loads(line)["detections"]) for line in lines}) > 5  # an order can be told from them
    assert run._run.progress.steps == 60 and run.state.summaries[0].frames == 60  # type: ignore[attr-defined]
    assert run.state.seconds > 0
    stages = ["decode", "preprocess", "network", "postprocess", *(["draw", "encode"] if drawn else [])]
    assert sorted(detector.timer.medians()) == sorted(stages)


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [False, True])
def test_every_third_frame(film: str, detector: Detector, drawn: bool) -> None:
    """The lines are those of every frame's run; the annotated video keeps all frames, with the last boxes on them."""
    lines: list[str] = []
    run = make(detector, lines.append, Path("out") if drawn else None, every=3)
    run.run(collect([film], [], None)[0])
    assert lines == one_by_one(film)[::3] and len(lines) == 20
    assert run.state.summaries[0].frames == 20
    if drawn:
        with VideoFile("out/film.mp4") as copies, VideoFile(film) as originals:
            changed = [
                (np.abs(a.image.astype(int) - b.image) > 40).any() for a, b in zip(copies, originals, strict=True)
            ]
        assert all(changed) and len(changed) == 60


@pytest.mark.slow
def test_snapshots_by_the_videos_own_time(film: str, detector: Detector) -> None:
    run = make(detector, None, Path("out"), snapshot_every=0.8)  # 20 frames of 25 a second
    run.run(collect([film], [], None)[0])
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *(f"film-{index:06}.jpg" for index in (0, 20, 40)),
        "film.mp4",
    ]


def test_images_give_what_they_give_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: Detector
) -> None:
    make_photos(tmp_path, monkeypatch)
    for index in range(20):
        Image.fromarray(picture(60 + index, 50, (5, 5, 30 + index, 40))).save(f"photos/{index:02}.png")
    lines: list[str] = []
    items = collect(["photos"], [], None)[0]
    make(detector, lines.append).run(items)
    assert lines == one_by_one(*(item.source for item in items)) and len(lines) == 23


@pytest.mark.slow
def test_what_is_drawn_does_not_reach_the_network(film: str, detector: Detector) -> None:
    """Drawing is on the frame itself, while the network may still be at work on others: the lines are the same."""
    with_copies: list[str] = []
    make(detector, with_copies.append, Path("out")).run(collect([film], [], None)[0])
    assert with_copies == one_by_one(film)
    with VideoFile("out/film.mp4") as copies, VideoFile(film) as originals:
        changed = [(np.abs(a.image.astype(int) - b.image) > 40).any() for a, b in zip(copies, originals, strict=True)]
    assert all(changed) and len(changed) == 60


class Film:
    """An endless source that counts what was taken of it."""

    name, size, rate, time_base, frames, sound = "film", (64, 48), Fraction(25), Fraction(1, 25), None, None

    def __init__(self, fail_at: int | None = None) -> None:
        self.taken = 0
        self.fail_at = fail_at
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        while True:
            if self.taken == self.fail_at:
                raise RuntimeError("decode")
            yield Frame(self.taken, Fraction(self.taken, 25), picture(64, 48, (8, 8, 40, 40)))
            self.taken += 1

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Film:
    film = Film()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "open_video", lambda source: film)
    return film


ENDLESS = [InputSource("film.mp4", True, "film.mp4", Path("film.mp4"))]


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [False, True])
def test_what_waits_is_bounded_whatever_the_input_and_the_writer(
    endless: Film, detector: Detector, runtime: UnevenRuntime, drawn: bool
) -> None:
    """A slow writer and an endless film: no more frames are taken than the stages have room for."""
    written = 0
    room = PARALLEL + WAITING + (WAITING + 2 if drawn else 1)

    def slow(line: str) -> None:
        nonlocal written
        written += 1
        time.sleep(0.01)
        assert endless.taken <= written + room
        if written == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(detector, slow, Path("out") if drawn else None).run(ENDLESS)
    assert 2 <= runtime.most_flying <= PARALLEL + WAITING
    assert endless.closed
    if drawn:  # whole as far as it got: the frame of the line that was interrupted is not in it
        with VideoFile("out/film.mp4") as source:
            assert len(list(source)) == 39


def test_the_network_is_kept_busy(endless: Film, detector: Detector, runtime: UnevenRuntime) -> None:
    """With a writer that waits for nothing, as many are in flight as it works on at once."""
    count = 0

    def stop(line: str) -> None:
        nonlocal count
        count += 1
        if count == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(detector, stop).run(ENDLESS)
    assert runtime.most_flying >= PARALLEL


@pytest.mark.parametrize("stage", ["decode", "preprocess", "submit", "network", "draw", "encode", "line"])
def test_an_error_of_any_stage_ends_the_run_with_itself(
    stage: str, endless: Film, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out").mkdir()
    Path("out/film.mp4").write_bytes(b"old")
    calls = 0

    def fail(*args: object, **options: object) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise RuntimeError(stage)

    def failing(target: Any, name: str) -> None:
        plain = getattr(target, name)
        monkeypatch.setattr(target, name, lambda *a, **k: (fail(), plain(*a, **k))[1])

    if stage == "decode":
        endless.fail_at = 7
    elif stage == "network":
        failing(detector.runtime, "_late")
    elif stage == "submit":
        failing(detector.runtime, "submit")
    elif stage == "preprocess":
        failing(detector, "_batch")
    elif stage == "draw":
        failing(drawing, "draw")
    elif stage == "encode":
        failing(VideoWriter, "write")
    run = make(detector, fail if stage == "line" else None, Path("out"))
    with pytest.raises(RuntimeError, match=stage):
        run.run(ENDLESS)
    assert endless.closed
    assert 0 < run.state.summaries[0].frames < 8
    assert [path.name for path in Path("out").iterdir()] == ["film.mp4"]
    assert Path("out/film.mp4").read_bytes() == b"old"
