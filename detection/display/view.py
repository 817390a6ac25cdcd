"""View protocol: a window, or a page in a browser, that shows images."""

from typing import Protocol

import numpy as np


class View(Protocol):
    """Display of one image after the other. All methods are called in one thread."""

    def show(self, image: np.ndarray, wait: bool) -> bool:
        """Show an (H, W, 3) uint8 RGB image; return False once the user quits.

        With `wait` it returns when the user asks for the next image, without at once.
        """
        ...

    def set_status(self, text: str) -> None:
        """Set the status line (rates, ages and losses of a live source) beside the image."""
        ...

    def keys(self) -> list[str]:
        """Return the keys pressed since the last call: " ", "s", "+" and "-"; always empty for a page."""
        ...
