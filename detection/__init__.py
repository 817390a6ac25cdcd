"""Object detection: `Detector`, and everything around it.

from detection import Detector
detections = Detector.load("pelee-voc")("street.jpg")
"""

from typing import TYPE_CHECKING

import pelee  # noqa: F401 (its finder finds the packages of this installation first)

if TYPE_CHECKING:
    from detection.detector import Detector


__all__ = ["Detector"]


def __getattr__(name: str) -> object:
    """Import `Detector` when it is asked for: commands that only print their help must not wait for it."""
    if name == "Detector":
        from detection.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
