"""Sink that shows results in a window or on a web page, and handles its keys."""

import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.images.image_io import write_image
from detection.display.overlay import side_by_side
from detection.display.view import View
from detection.inference.thresholds import Confidence
from detection.pipeline.frame_result import FrameResult
from detection.pipeline.inputs import InputSource
from detection.pipeline.run_config import RunState
from detection.pipeline.run_progress import Progress
from detection.pipeline.sinks import Sink, SourceInfo

STEP = 0.05  # change of the threshold by the keys + and -
PAUSE = 0.03  # seconds between two polls of the keys
REDRAW = 0.05  # seconds between two calls of the view while there is no new frame
STAYING = frozenset("s+-")  # keys that do not ask for the next image


class ViewSink(Sink):
    """Sink of a `View`: an image stays until a key is pressed, a video plays at its own speed, live sources share it.

    Several live sources are shown side by side; space freezes the view, and the pipeline goes on.
    """

    needs_images = True

    def __init__(
        self,
        view: View,
        state: RunState,
        progress: Progress,
        folder: Path | None = None,
        live: Sequence[InputSource] = (),
    ) -> None:
        """Make a sink.

        Args:
            view: the window or page.
            state: keys change its options and its `quit`.
            progress: receiver of notes.
            folder: destination of saved images; None for the current one.
            live: live sources of the run, for their places side by side before their first frames.
        """
        self.view = view
        self._state = state
        self._progress = progress
        self._folder = folder or Path()
        self._begin = 0.0  # `time.monotonic()` at which the video's time is 0
        self._live: dict[InputSource, np.ndarray | None] = dict.fromkeys(live)
        self._composed: np.ndarray | None = None  # the live sources' images in one; None where they have changed
        self._frozen: np.ndarray | None = None
        self._shown_at = 0.0

    def open(self, info: SourceInfo) -> None:
        """Start a video's clock."""
        self._begin = time.monotonic()

    def emit(self, result: FrameResult) -> None:
        """Show a result; sets `RunState.quit` once the user quits."""
        image = result.image
        if image is None:
            return
        if result.item.live:
            self._live[result.item] = image
            self._composed = None
            self.view.set_status(result.status if len(self._live) == 1 else f"{result.item.name}: {result.status}")
            go_on = self._show_live()
        elif not result.item.video:
            go_on = self._still(image)
        elif result.item.moving:
            go_on = self._play(image, float(result.time or 0))
        else:
            go_on = self.view.show(image, wait=False)
            if go_on:
                self._press(image)
        result.delivered = time.monotonic()
        self._state.quit = not go_on

    def signal_lost(self, source: InputSource, image: np.ndarray, time: Fraction) -> None:
        """Show the loss from the next call of `idle` on."""
        self._live[source] = image
        self._composed = None

    def idle(self) -> None:
        """Show the live sources again, and handle keys; sets `RunState.quit` once the user quits."""
        if time.monotonic() - self._shown_at >= REDRAW and any(image is not None for image in self._live.values()):
            self._state.quit = not self._show_live()

    def _show_live(self) -> bool:
        """Show the latest images of all live sources, or the frozen one; return False once the user quits."""
        self._shown_at = time.monotonic()
        if self._frozen is None and self._composed is None:
            self._composed = side_by_side(list(self._live.values()))
        image = self._composed if self._frozen is None else self._frozen
        assert image is not None
        if not self.view.show(image, wait=False):
            return False
        if " " in self._press(image):
            self._frozen = image if self._frozen is None else None
        return True

    def _press(self, image: np.ndarray) -> list[str]:
        """Handle the keys pressed while `image` was shown, except space; return them all."""
        keys = self.view.keys()
        for key in keys:
            if key == "s":
                name = time.strftime(f"pelee-%Y%m%d-%H%M%S-{time.time_ns() // 1_000_000 % 1000:03}.jpg")
                path = self._folder / name
                try:
                    write_image(path, image)
                    self._progress.note(f"saved {path}")
                except OSError as error:
                    self._progress.note(f"not saved: {path}: {error.strerror or error}")
            elif key in ("+", "-"):
                step = STEP if key == "+" else -STEP
                options = self._state.options.change_confidence(
                    lambda value, step=step: min(max(round(value + step, 4), 0.01), 0.99)  # type: ignore[misc]
                )
                self._state.options = options
                self._progress.note(_describe_thresholds(options.confidence))
        return keys

    def _still(self, image: np.ndarray) -> bool:
        """Show an image until a key asks for the next one."""
        while self.view.show(image, wait=True):
            if not STAYING.intersection(self._press(image)):
                return True
        return False

    def _play(self, image: np.ndarray, moment: float) -> bool:
        """Show a frame until its time has passed; a pause or a slow machine shifts the clock."""
        go_on = self._until(image, moment)
        self._begin = max(self._begin, time.monotonic() - moment)
        return go_on

    def _until(self, image: np.ndarray, moment: float) -> bool:
        while self.view.show(image, wait=False):
            if " " in self._press(image):
                return self._hold(image)
            rest = self._begin + moment - time.monotonic()
            if rest <= 0:
                return True
            time.sleep(min(rest, PAUSE))
        return False

    def _hold(self, image: np.ndarray) -> bool:
        """Show an image until space is pressed again."""
        while self.view.show(image, wait=False):
            if " " in self._press(image):
                return True
            time.sleep(PAUSE)
        return False


def _describe_thresholds(confidence: Confidence) -> str:
    if isinstance(confidence, tuple):
        return f"thresholds {min(confidence):.2f} to {max(confidence):.2f}, by class"
    return f"threshold {confidence:.2f}"
