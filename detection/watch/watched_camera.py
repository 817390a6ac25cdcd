"""Watched camera: a live source that is never given up, with its packets, its analysis and its state."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np

from detection.detector import Detector
from detection.video.frames import Capture
from detection.video.live_source import LiveSource
from detection.video.open_source import open_capture
from detection.watch.camera_analysis import CameraAnalysis, fitted
from detection.watch.event import EventKind
from detection.watch.recording.packet_ring import PacketRing
from detection.watch.rules import EventChange
from detection.watch.settings import WatchSettings

RETRIES = 1 << 62  # of a lost camera: it may come back at any time
LONGEST_WAIT = 30.0  # seconds between two of them
VIEWS = 8  # frames kept for events of objects that are gone
AFTER_THE_EVENT = frozenset({EventKind.LEFT, EventKind.VANISHED})


class CameraState(StrEnum):
    """State of a camera."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class PickedFrame:
    """Frame of a camera that is analyzed now.

    Attributes:
        time: capture time on the clock of `time.monotonic()`.
        image: (H, W, 3) uint8 RGB, reduced to the camera's size; None where the network does not need it.
        size: (width, height) of that image.
        tiles: (T, 4) int64 xyxy in pixels.
    """

    time: float
    image: np.ndarray | None
    size: tuple[int, int]
    tiles: np.ndarray


def utc_of(captured: float) -> datetime:
    """UTC time of a time of `time.monotonic()`, by the clock of now."""
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - captured)


class WatchedCamera:
    """Camera of a watch, used in one thread; its source has a thread of its own.

    Attributes:
        name: in the settings.
        ring: last packets; None for a camera without packets.
        analysis: gate, tracker, rules.
        image: last frame that went to the network, (H, W, 3) uint8 RGB; None before the first.
    """

    def __init__(
        self,
        name: str,
        settings: WatchSettings,
        detector: Detector,
        run: str,
        wake: Callable[[], None],
        open_: Callable[..., Capture] = open_capture,
    ) -> None:
        """Start to open the camera, in its thread.

        Args:
            name, settings: of the camera.
            detector: gives class names, input size and score threshold.
            run: unique text for the events' ids.
            wake: called in another thread at each frame.
            open_: opens an address, with a function that takes packets.
        """
        self.name = name
        camera = settings.cameras[name]
        self.ring = PacketRing(settings.recording.before)
        self.analysis = CameraAnalysis(
            name,
            settings,
            detector,
            clock=utc_of,
            run=run,
        )
        self.image: np.ndarray | None = None
        self._source = LiveSource(
            camera.address,
            retries=RETRIES,
            wake=wake,
            open_=partial(self._open, open_),
            longest_wait=LONGEST_WAIT,
            awaited=True,
        )
        self._rate = camera.rate
        self._due = float("-inf")
        self._size = (1, 1)
        self._failed = False
        self._problem: str | None = None
        kinds = {kind for rule in settings.rules_of(name).values() for kind in rule.all_kinds}
        self._views: OrderedDict[int, tuple[float, np.ndarray]] | None = (
            OrderedDict() if kinds & AFTER_THE_EVENT else None
        )

    @property
    def ended(self) -> bool:
        """Whether it was a recording, which is over."""
        return self._source.ended

    def poll(self) -> list[str]:
        """Watch over the source; return messages, a line each."""
        said = self._source.poll()
        if self._source.failed is not None and not self._failed:
            self._failed = True
            said.append(self._source.failed)
        self._problem = said[-1] if said and self._source.mark() else self._problem if self._source.mark() else None
        return [f"{self.name}: {line}" for line in said]

    def pick(self) -> PickedFrame | None:
        """Take the newest frame, if one is due; None otherwise."""
        now = time.monotonic()
        if now < self._due:
            return None
        source_rate = float(self._source.rate or self._rate)
        frame = self._source.newest(max(1, round(source_rate / self._rate)))
        if frame is None:
            return None
        self._due = max(self._due + 1 / self._rate, now + 0.5 / self._rate)
        luma = frame.to_rgb() if frame.luma is None else frame.luma()
        size = self._size if frame.luma is not None and self.image is not None else (luma.shape[1], luma.shape[0])
        view = self.analysis.view(luma, frame.captured, size, self._source.figures.dropped)
        if not view.analyze:
            return PickedFrame(frame.captured, None, size, view.tiles)
        image = fitted(luma if frame.luma is None else frame.to_rgb(), self.analysis.settings)
        self._size = (image.shape[1], image.shape[0])
        self._source.figures.looked_at.add(now)
        # A first frame has no moving parts yet, and those of another size would be out of place.
        tiles = view.tiles if size == self._size else view.tiles[:0]
        self.image = image
        return PickedFrame(frame.captured, image, self._size, tiles)

    def image_of(self, change: EventChange, picked: PickedFrame | None) -> np.ndarray | None:
        """Frame in which an event's object is at its box: the one that is analyzed now, or an earlier one."""
        if change.visible and picked is not None and picked.image is not None:
            return picked.image
        if self._views is not None and (kept := self._views.get(change.event.track)) is not None:
            return kept[1]
        return self.image

    def keep_views(self, picked: PickedFrame) -> None:
        """Keep the frame for the objects in it, for events that are certain when they are gone."""
        if self._views is None or picked.image is None:
            return
        for subject in self.analysis.engine.present:
            self._views[subject.number] = (picked.time, picked.image)
            self._views.move_to_end(subject.number)
        while len(self._views) > VIEWS:
            self._views.popitem(last=False)

    def age(self, picked: PickedFrame) -> None:
        """Record the time from the capture of a frame to its events."""
        self._source.figures.shown(time.monotonic() - picked.time)

    def status(self) -> dict[str, Any]:
        """Return state and figures, ready for JSON; may be called in any thread."""
        stats, figures, now = self.analysis.stats, self._source.figures, time.monotonic()
        state = CameraState.LIVE
        if self._source.ended:
            state = CameraState.ENDED
        elif self._source.mark() is not None:
            state = CameraState.LOST
        elif not figures.captured.count:
            state = CameraState.CONNECTING
        return {
            "name": self.name,
            "source": self._source.name,
            "state": str(state),
            "problem": self._problem,
            "size": list(self._size) if self.image is not None else None,
            "frames_per_second": round(figures.captured.recent(now), 2),
            "analyzed_per_second": round(figures.looked_at.recent(now), 2),
            "frames": stats.frames,
            "analyzed": stats.analyzed,
            "tiles": stats.tiles,
            "dropped": figures.dropped,
            "damaged": figures.damaged,
            "reconnects": figures.reconnects,
            "age_p99_ms": figures.age(99),
            "objects": self.analysis.engine.objects,
        }

    def close(self) -> None:
        """Release the source."""
        self._source.close()

    def _open(self, open_: Callable[..., Capture], address: str) -> Capture:
        return open_(address, self._keep_packet)

    def _keep_packet(self, packet: Any, stream: Any) -> None:
        with suppress(ValueError, OSError):  # a format that no file holds: events come without clips
            self.ring.add(packet, stream, time.monotonic())
