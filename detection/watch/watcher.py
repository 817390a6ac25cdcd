"""Watcher: several cameras, one network. It takes the newest frame of each in turn, and passes its events on."""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detection.detector import DetectionFuture, Detector
from detection.tiling.tiled_batch import TiledBatch
from detection.video.frames import Capture
from detection.video.open_source import open_capture
from detection.watch.camera_analysis import detection_options
from detection.watch.event import EventSink
from detection.watch.recording.recorder import Recorder
from detection.watch.rules import EventChange
from detection.watch.settings import WatchSettings
from detection.watch.watched_camera import PickedFrame, WatchedCamera

TICK = 0.05  # seconds: longest wait for a frame
IDLE = 0.5  # seconds between two looks at a camera without frames: its objects go


@dataclass(frozen=True, slots=True)
class _Pending:
    """Frame in the network."""

    camera: WatchedCamera
    picked: PickedFrame
    future: DetectionFuture | TiledBatch


class Watcher:
    """One run of a watch: `run` in one thread, `stop` and `status` from any other.

    A camera that fails, at the start or later, is tried again and again; the others go on. A run whose cameras are
    recordings ends with the last of them.
    """

    def __init__(
        self,
        settings: WatchSettings,
        detector: Detector,
        sink: EventSink,
        folder: Path,
        note: Callable[[str], None],
        open_: Callable[..., Capture] = open_capture,
    ) -> None:
        """Prepare a run; nothing is opened before `run`.

        Args:
            settings: cameras and rules.
            detector: of the settings' model.
            sink: gets the events, in a thread of its own; `run` closes it.
            folder: of snapshots and clips.
            note: gets messages, a line each, in any thread.
            open_: opens an address, as `detection.video.open_source.open_capture`.
        """
        self._settings, self._detector, self._sink, self._folder = settings, detector, sink, folder
        self._note, self._open = note, open_
        self._options = detection_options(settings, detector)
        self._arrived, self._stopped = threading.Event(), threading.Event()
        self._cameras: dict[str, WatchedCamera] = {}
        self._pending: deque[_Pending] = deque()
        self._looked: dict[str, float] = {}
        self._recorder: Recorder | None = None

    def run(self) -> None:
        """Watch until `stop`, or the end of all recordings; events are finished and clips closed at the end."""
        self._recorder = Recorder(self._folder, self._settings.recording, self._sink, self._note)
        run = uuid.uuid4().hex
        try:
            for name in self._settings.cameras:
                self._cameras[name] = WatchedCamera(
                    name, self._settings, self._detector, run, self._arrived.set, self._open
                )
            while not self._stopped.is_set():
                self._arrived.clear()
                ended = all(camera.ended for camera in self._cameras.values())
                if not self._round():
                    self._finish_all()
                    if ended:
                        break
                    self._arrived.wait(TICK)
            self._finish_all()
        finally:
            for camera in self._cameras.values():
                camera.close()
                self._record(camera, camera.analysis.engine.finish(), None)
            self._recorder.close()

    def stop(self) -> None:
        """Ask `run` to end; returns at once."""
        self._stopped.set()
        self._arrived.set()

    def status(self) -> list[dict[str, Any]]:
        """State and figures of each camera, as `WatchedCamera.status`, in the order of the settings."""
        return [camera.status() for camera in list(self._cameras.values())]

    def image(self, camera: str) -> np.ndarray | None:
        """Last analyzed frame of a camera, (H, W, 3) uint8 RGB; None before the first. Not to be changed."""
        found = self._cameras.get(camera)
        return None if found is None else found.image

    def _round(self) -> bool:
        """Take a frame of each camera that has one; return whether there was any."""
        found = False
        for camera in self._cameras.values():
            for line in camera.poll():
                self._note(line)
            picked = camera.pick()
            now = time.monotonic()
            if picked is None:
                if now - self._looked.get(camera.name, 0.0) >= IDLE:
                    self._looked[camera.name] = now
                    if not any(one.camera is camera for one in self._pending):
                        self._record(camera, camera.analysis.engine.tick(now), None)
                continue
            found = True
            self._looked[camera.name] = now
            if picked.image is None:
                # In the order of the camera's frames: those before are in the network.
                while any(one.camera is camera for one in self._pending):
                    self._finish(self._pending.popleft())
                self._record(camera, camera.analysis.hold(picked.time, picked.size), None)
                continue
            tiles = [picked.tiles] if len(picked.tiles) else None
            future = self._detector.submit([picked.image], self._options, tiles)
            self._pending.append(_Pending(camera, picked, future))
            while len(self._pending) > self._detector.runtime.parallel:
                self._finish(self._pending.popleft())
        return found

    def _finish_all(self) -> None:
        while self._pending:
            self._finish(self._pending.popleft())

    def _finish(self, one: _Pending) -> None:
        """Wait for the network's result of a frame, and pass its events on."""
        (prediction,) = one.future.result()
        changes = one.camera.analysis.take(prediction, one.picked.time, one.picked.size)
        one.camera.keep_views(one.picked)
        self._record(one.camera, changes, one.picked)
        one.camera.age(one.picked)

    def _record(self, camera: WatchedCamera, changes: list[EventChange], picked: PickedFrame | None) -> None:
        assert self._recorder is not None
        for change in changes:
            self._recorder.put(change, camera.image_of(change, picked), camera.ring)
