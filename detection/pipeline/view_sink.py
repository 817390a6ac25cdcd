"""Sink that shows results in a window or on a web page, and handles its keys."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.images.image_io import write_image
from detection.display.view import View
from detection.pipeline.frame_task import FrameResult
from detection.pipeline.inputs import InputSource
from detection.pipeline.progress_bars import Progress
from detection.pipeline.run_config import RunState
from detection.pipeline.sinks import SourceInfo

STEP = 0.05  # change of the threshold by the keys + and -
PAUSE = 0.03  # seconds between two polls of the keys
STAYING = frozenset("s+-")  # keys that do not ask for the next image


class ViewSink:
    """Sink of a `View`: an image stays until a key is pressed, a video plays at its own speed.

    Frames of live sources are composed into one image by `LivePipeline`, which calls `show` and `press` itself.
    """

    needs_images = True

    def __init__(self, view: View, state: RunState, progress: Progress, folder: Path | None = None) -> None:
        """Take the view, the state that keys change, the receiver of notes, and the folder of saved images."""
        self.view = view
        self._state = state
        self._progress = progress
        self._folder = folder or Path()
        self._begin = 0.0  # `time.monotonic()` at which the video's time is 0

    def open(self, info: SourceInfo) -> None:
        """Start a video's clock."""
        self._begin = time.monotonic()

    def emit(self, result: FrameResult) -> None:
        """Show a result; sets `RunState.quit` once the user quits."""
        if result.image is None or result.item.live:
            return
        if not result.item.video:
            go_on = self._still(result.image)
        elif result.item.moving:
            go_on = self._play(result.image, float(result.time or 0))
        else:
            go_on = self.show(result.image)
            if go_on:
                self.press(result.image)
        self._state.quit = not go_on

    def close(self, source: InputSource, error: BaseException | None) -> None:
        """Do nothing: the view's owner ends it."""

    def show(self, image: np.ndarray, wait: bool = False) -> bool:
        """Show an image; return False once the user quits."""
        return self.view.show(image, wait=wait)

    def press(self, image: np.ndarray) -> list[str]:
        """Handle the keys pressed while `image` was shown, except space; return them all."""
        keys = self.view.keys()
        for key in keys:
            if key == "s":
                name = time.strftime(f"pelee-%Y%m%d-%H%M%S-{time.time_ns() // 1_000_000 % 1000:03}.jpg")
                path = self._folder / name
                write_image(path, image)
                self._progress.note(f"saved {path}")
            elif key in ("+", "-"):
                options = self._state.options
                moved = options.confidence + (STEP if key == "+" else -STEP)
                self._state.options = replace(options, confidence=min(max(round(moved, 4), 0.01), 0.99))
                self._progress.note(f"threshold {self._state.options.confidence:.2f}")
        return keys

    def _still(self, image: np.ndarray) -> bool:
        """Show an image until a key asks for the next one."""
        while self.show(image, wait=True):
            if not STAYING.intersection(self.press(image)):
                return True
        return False

    def _play(self, image: np.ndarray, moment: float) -> bool:
        """Show a frame until its time has passed; a pause or a slow machine shifts the clock."""
        go_on = self._until(image, moment)
        self._begin = max(self._begin, time.monotonic() - moment)
        return go_on

    def _until(self, image: np.ndarray, moment: float) -> bool:
        while self.show(image):
            if " " in self.press(image):
                return self._hold(image)
            rest = self._begin + moment - time.monotonic()
            if rest <= 0:
                return True
            time.sleep(min(rest, PAUSE))
        return False

    def _hold(self, image: np.ndarray) -> bool:
        """Show an image until space is pressed again."""
        while self.show(image):
            if " " in self.press(image):
                return True
            time.sleep(PAUSE)
        return False
