"""A window on the screen, where there is one."""

import os
import subprocess
import sys
from types import TracebackType
from typing import Self

import numpy as np

from data.errors import SettingsError

INSTEAD = "write files with --output DIR instead"
QUIT_KEYS = (ord("q"), 27)  # and Esc


class Window:
    """Shows pictures until the user has seen enough."""

    def __init__(self, title: str) -> None:
        """Check that windows work here at all; `SettingsError` where they do not."""
        check_display()
        self._title = title

    def show(self, image: np.ndarray, wait: bool) -> bool:
        """Show an (H, W, 3) uint8 RGB picture, with `wait` until a key is pressed; False once the user quits."""
        import cv2

        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(self._title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        while True:
            key = cv2.waitKey(50 if wait else 1) & 0xFF
            closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
            if key in QUIT_KEYS or closed:
                return False
            if not wait or key != 0xFF:
                return True

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the window."""
        import cv2

        cv2.destroyAllWindows()


def check_display() -> None:
    """Raise `SettingsError` where no window can be opened, with what to do instead."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SettingsError(f"--show needs a screen, and this machine has none (DISPLAY is not set); {INSTEAD}")
    # A display that does not answer makes Qt abort the whole process: a child tries first.
    trial = "import cv2; cv2.namedWindow('trial'); cv2.waitKey(1); cv2.destroyAllWindows()"
    tried = subprocess.run([sys.executable, "-c", trial], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode == 0:
        return
    if "not implemented" in tried.stderr:
        raise SettingsError(
            f"--show needs OpenCV with windows, and this one has none; {INSTEAD}, or: pip install 'pelee[window]'"
        )
    raise SettingsError(f"--show cannot open a window on this display; {INSTEAD}")
