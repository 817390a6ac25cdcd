"""What shows pictures to a person: a window, or a page in a browser."""

from typing import Protocol

import numpy as np


class View(Protocol):
    """Shows one picture after the other, from one thread."""

    def show(self, image: np.ndarray, wait: bool) -> bool:
        """Show an (H, W, 3) uint8 RGB picture, with `wait` until the user goes on; False once the user quits.

        Without `wait` it returns at once.
        """
        ...

    def tell(self, numbers: str) -> None:
        """Take a live source's numbers, for where they stand beside the picture."""
        ...

    def keys(self) -> list[str]:
        """The keys that were pressed since the last call: " ", "s", "+" and "-"; a page without keys has none."""
        ...
