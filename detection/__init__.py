"""Pelee, the detector: from a picture to its boxes.

from detection import Detector
detections = Detector.load("pelee-voc")("street.jpg")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detection.detector import Detector


__all__ = ["Detector"]


def __getattr__(name: str) -> object:
    """Import `Detector` when it is asked for: commands that only print their help must not wait for it."""
    if name == "Detector":
        from detection.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
