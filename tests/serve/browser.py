"""A real browser for the page: Debian's Chromium through playwright, with a file as its camera."""

import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = shutil.which("chromium")
MISSING = "Chromium is not here; on Debian: apt-get install chromium"
REQUIRED = bool(os.environ.get("CI"))  # there, a browser that is missing is a failure


def launch(playwright: Playwright, camera: Path | None = None) -> Browser:
    """Start Chromium. Its camera is a file of JPEGs, shown at 30 frames a second; without one there is no camera."""
    arguments = ["--no-sandbox"]  # a container's root has no use for it
    if camera:
        arguments += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
    return playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


def write_camera(path: Path, frames: Iterable[np.ndarray]) -> Path:
    """Write (H, W, 3) uint8 RGB frames as the file that Chromium takes for a camera; it shows them again and again."""
    with path.open("wb") as file:
        for frame in frames:
            encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
            file.write(encoded.tobytes())
    return path


def wait_until(page: Page, condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait while the page runs. Playwright's own `wait_for_function` needs `eval`, which the page forbids."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        page.wait_for_timeout(30)
