"""A real browser for the page: Debian's Chromium through playwright, with a file as its camera."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from tests.support.service_stub import BLUE, RED

CHROMIUM = shutil.which("chromium")
MISSING = "Chromium is not here; on Debian: apt-get install chromium"
REQUIRED = bool(os.environ.get("CI"))  # there, a browser that is missing is a failure
needs_chromium = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason=MISSING)
expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong
OpenPage = Callable[[BrowserContext, str], Page]
WIDTH, HEIGHT = 320, 240
DOG, CAT = (40, 60, 140, 180), (200, 40, 300, 120)  # where the red and the blue rectangles are


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


def scene(shift: int = 0) -> np.ndarray:
    """(240, 320, 3) uint8 RGB: a red and a blue rectangle on grey, the red one moved right by `shift`."""
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for (x1, y1, x2, y2), colour in ((DOG, RED), (CAT, BLUE)):
        move = shift if colour == RED else 0
        image[y1:y2, x1 + move : x2 + move] = colour
    return image


def encode(image: np.ndarray, kind: str = ".png") -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


PHOTO: Any = {"name": "scene.png", "mimeType": "image/png", "buffer": encode(scene())}


def boxes(page: Page) -> int:
    return int(page.locator("#overlay").get_attribute("data-boxes") or 0)


def overlay_colour(page: Page, x: float, y: float) -> tuple[int, ...]:
    """RGBA of the overlay where the image's point (x, y) is, in pixels of the image."""
    read = """([x, y, width, height]) => {
        const canvas = document.getElementById('overlay');
        const scale = Math.min(canvas.width / width, canvas.height / height);
        const left = (canvas.width - width * scale) / 2, top = (canvas.height - height * scale) / 2;
        const at = [Math.floor(left + x * scale), Math.floor(top + y * scale)];
        return [...canvas.getContext('2d').getImageData(at[0], at[1], 1, 1).data];
    }"""
    return tuple(page.evaluate(read, [x, y, WIDTH, HEIGHT]))


def start_camera(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    wait_until(page, lambda: int(page.locator("#overlay").get_attribute("data-frame") or 0) > 2)


def shown(page: Page) -> dict[str, Any]:
    return json.loads(page.locator("#json").text_content() or "{}")
