import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import av
import numpy as np
import pytest

from detection.watch.event import Event, EventFiles, EventKind
from detection.watch.recording.packet_ring import PacketRing
from detection.watch.recording.recorder import Recorder
from detection.watch.rules import EventChange, EventStage
from detection.watch.settings import RecordingSettings
from tests.detection.watch.recording.test_packet_ring import RATE, film, packets_of
from tests.detection.watch.test_event import EVENT
from tests.support.watch_scenes import EventMemory

IMAGE = np.full((96, 128, 3), 90, np.uint8)
LASTING = replace(EVENT, kind=EventKind.ENTERED, direction=None)
PATIENCE = 20.0  # seconds, on a busy machine


class Run:
    def __init__(self, folder: Path, after: float = 1.0, longest: float = 120.0) -> None:
        self.folder, self.sink, self.notes = folder, EventMemory(), list[str]()
        settings = RecordingSettings(before=1.0, after=after, longest=longest)
        self.recorder = Recorder(folder, settings, self.sink, self.notes.append)

    def put(self, stage: EventStage, event: Event, start: float, ring: PacketRing | None = None) -> None:
        self.recorder.put(EventChange(stage, event, start, (10, 10, 60, 60), True), IMAGE, ring)

    def wait(self, method: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.sink.events(method):
            assert time.monotonic() < deadline, self.sink.calls
            time.sleep(0.01)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    one = Run(tmp_path)
    yield one
    one.recorder.close()


def ring_of(end: float) -> PacketRing:
    """Return 20 s of packets whose last one came at a time."""
    ring = PacketRing(30)
    for number, (packet, stream) in enumerate(packets_of(film(frames=200))):
        ring.add(packet, stream, end - (199 - number) / RATE)
    return ring


def test_files_are_there_when_the_sink_is_told(run: Run, tmp_path: Path) -> None:
    """An event from 10 s to 2 s ago."""
    now = time.monotonic()
    ended = replace(LASTING, end=LASTING.start + timedelta(seconds=8))
    files = EventFiles.of(tmp_path, EVENT)
    ring = ring_of(now)
    run.put(EventStage.BEGIN, LASTING, now - 10, ring)
    run.wait("begin")
    assert files.snapshot.exists() and files.boxed_snapshot.exists() and not files.clip.exists()
    run.put(EventStage.END, ended, now - 10, ring)
    run.wait("finish")
    with av.open(str(files.clip)) as container:
        length = float(container.duration / av.time_base)
    assert 1 + 8 + 1 - 0.2 <= length <= 1 + 8 + 1 + 1.1  # up to a key frame's distance more
    assert [name for name, _ in run.sink.calls] == ["begin", "update", "finish"]
    assert run.sink.events("finish") == [ended] and run.sink.threads == {"recorder"}


def test_an_event_of_a_moment_has_no_update(run: Run) -> None:
    now = time.monotonic()
    moment = replace(EVENT, end=EVENT.start)
    run.put(EventStage.BEGIN, moment, now - 10)
    run.put(EventStage.END, moment, now - 10)
    run.wait("finish")
    assert [name for name, _ in run.sink.calls] == ["begin", "finish"]


@pytest.mark.slow
def test_better_views_are_told_once_a_second(run: Run) -> None:
    now = time.monotonic()
    run.put(EventStage.BEGIN, LASTING, now)
    for score in (0.8, 0.85, 0.9):
        run.put(EventStage.UPDATE, replace(LASTING, score=score), now)
    run.wait("update")
    assert [event.score for event in run.sink.events("update")] == [0.9]


def test_a_clip_has_a_largest_length(tmp_path: Path) -> None:
    run, now = Run(tmp_path, longest=3.0), time.monotonic()
    run.put(EventStage.BEGIN, LASTING, now - 15, ring_of(now))
    clip = EventFiles.of(tmp_path, EVENT).clip
    deadline = time.monotonic() + PATIENCE
    while not clip.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert run.sink.events("finish") == []  # the event goes on
    run.put(EventStage.END, replace(LASTING, end=LASTING.start + timedelta(seconds=14)), now - 15)
    run.recorder.close()
    with av.open(str(clip)) as container:
        assert float(container.duration / av.time_base) < 5.2
    assert len(run.sink.events("finish")) == 1


def test_the_end_of_the_run_completes_clips_and_closes_the_sink(tmp_path: Path) -> None:
    run, now = Run(tmp_path, after=100.0), time.monotonic()
    ring = ring_of(now)
    run.put(EventStage.BEGIN, LASTING, now - 3, ring)
    run.put(EventStage.END, replace(LASTING, end=LASTING.start + timedelta(seconds=3)), now - 3, ring)
    run.recorder.close()
    assert [name for name, _ in run.sink.calls] == ["begin", "update", "finish", "close"]
    assert EventFiles.of(tmp_path, EVENT).clip.exists()
    assert not [path for path in tmp_path.rglob(".*")]


def test_a_folder_that_fails_is_said_once_and_loses_no_event(tmp_path: Path) -> None:
    (tmp_path / "yard").write_text("a file")
    run, now = Run(tmp_path), time.monotonic()
    ring = ring_of(now)
    for number in range(3):
        event = replace(LASTING, id=f"{number:032x}", end=LASTING.start + timedelta(seconds=1))
        run.put(EventStage.BEGIN, event, now - 10, ring)
        run.put(EventStage.END, event, now - 10, ring)
    run.recorder.close()
    assert len(run.sink.events("begin")) == len(run.sink.events("finish")) == 3
    assert len(run.notes) == 1 and "is not written" in run.notes[0]
