"""Image classification: inference, evaluation, training and export of classifiers.

from pelee.classification import Classifier
result = Classifier.load("peleenet-tiny-imagenet")("cat.jpg")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pelee.classification.classifier import Classifier


__all__ = ["Classifier"]


def __getattr__(name: str) -> object:
    """Import `Classifier` lazily, as `detection` does with `Detector`."""
    if name == "Classifier":
        from pelee.classification.classifier import Classifier

        return Classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
