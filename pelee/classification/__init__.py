"""Classification: the networks beside the detector, and the backbone that it starts from.

from pelee.classification import Classifier
result = Classifier.load("peleenet-tiny-imagenet")("cat.jpg")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pelee.classification.classifier import Classifier


__all__ = ["Classifier"]


def __getattr__(name: str) -> object:
    """Import `Classifier` when it is asked for, as `detection` does with its `Detector`."""
    if name == "Classifier":
        from pelee.classification.classifier import Classifier

        return Classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
