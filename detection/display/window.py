"""Window on the screen, by OpenCV."""

import os
import subprocess
import sys
from types import TracebackType
from typing import Self

import numpy as np

from data.errors import SettingsError

INSTEAD = "write files with --output DIR instead"
LARGEST = 1280  # pixels: upper bound of the longer side at the start; the user may make the window larger
QUIT_KEYS = (ord("q"), 27)  # and Esc
KEYS = {ord(" "): " ", ord("s"): "s", ord("+"): "+", ord("="): "+", ord("-"): "-"}  # = is + without shift
NUMBER_PAD = {0xAB: "+", 0xAD: "-"}  # low byte of GTK's key codes


class Window:
    """`View` in a window of OpenCV."""

    def __init__(self, title: str) -> None:
        """Check that a window can be opened; `SettingsError` where it cannot."""
        # OpenCV's Qt has no fonts, needs none, and warns at every start.
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
        check_display()
        self._title = title
        self._keys: list[str] = []
        self._open = False

    def show(self, image: np.ndarray, wait: bool) -> bool:
        """Show an (H, W, 3) uint8 RGB image, with `wait` until a key is pressed; return False once the user quits."""
        import cv2

        if not self._open:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            share = min(1.0, LARGEST / max(image.shape[:2]))
            cv2.resizeWindow(self._title, round(image.shape[1] * share), round(image.shape[0] * share))
            self._open = True
        cv2.imshow(self._title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        while True:
            key = cv2.waitKey(50 if wait else 1) & 0xFF
            closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
            if key in QUIT_KEYS or closed:
                return False
            name = (KEYS | NUMBER_PAD).get(key)
            if name is not None:
                self._keys.append(name)
            if not wait or key != 0xFF:
                return True

    def set_status(self, text: str) -> None:
        """Do nothing: the status is drawn on the frame."""

    def keys(self) -> list[str]:
        """Return the keys pressed since the last call, as `detection.display.view.View` defines them."""
        keys, self._keys = self._keys, []
        return keys

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
    """Raise `SettingsError` where no window can be opened; the message names an alternative."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SettingsError(f"--show needs a screen, and this machine has none (DISPLAY is not set); {INSTEAD}")
    # A display that does not answer makes Qt abort the whole process: a child process tries first.
    trial = "import cv2; cv2.namedWindow('trial'); cv2.waitKey(1); cv2.destroyAllWindows()"
    tried = subprocess.run([sys.executable, "-c", trial], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode == 0:
        return
    if "not implemented" in tried.stderr:
        raise SettingsError(
            f"--show needs OpenCV with windows, and this one has none; {INSTEAD}, or: pip install 'pelee[window]'"
        )
    raise SettingsError(f"--show cannot open a window on this display; {INSTEAD}")
