"""Detection options: thresholds and classes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Self

import numpy as np

from data.errors import SettingsError, did_you_mean
from detection.inference.nms import postprocess
from detection.inference.prediction import Prediction
from detection.inference.thresholds import (
    DETECTIONS_PER_IMAGE,
    NMS_THRESHOLD,
    SCORE_THRESHOLD,
    TOPK_CANDIDATES,
    Confidence,
)

if TYPE_CHECKING:
    from weights.card import Card


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """Thresholds and classes of a detection; the defaults are those of evaluation.

    Attributes:
        confidence: score threshold, 0 to 1: a number for all classes, or a sequence of one for each class in the
            order of the labels, which is kept as a tuple.
        iou: NMS threshold, 0 to 1; of two boxes of one class with a larger IoU, the lower score is dropped.
        max_detections: maximum number of detections per image; those of the highest scores.
        classes: class ids to return; None for all. `Detector.class_ids` converts names.
        candidates: maximum number of boxes of a class that enter NMS, or `max_detections` if that is more.
    """

    confidence: Confidence = SCORE_THRESHOLD
    iou: float = NMS_THRESHOLD
    max_detections: int = DETECTIONS_PER_IMAGE
    classes: Sequence[int] | None = None
    candidates: int = TOPK_CANDIDATES

    def __post_init__(self) -> None:
        if isinstance(self.confidence, list | tuple | np.ndarray) and np.ndim(self.confidence) == 1:
            object.__setattr__(self, "confidence", _checked_thresholds(self.confidence))
        else:
            check_range("confidence", self.confidence)
        check_range("iou", self.iou)
        if not isinstance(self.max_detections, Integral) or self.max_detections < 1:
            raise SettingsError(f"max_detections is {self.max_detections!r}, expected an integer of at least 1")

    def postprocess(self, scores: np.ndarray, boxes: np.ndarray, *, width: int, height: int) -> Prediction:
        """Threshold and NMS of one image's raw outputs with these options.

        Args:
            scores: (P, C) float32, 0 to 1.
            boxes: (P, 4) float32 xyxy, relative to the network's input.
            width, height: size of the original image, pixels.

        Raises:
            SettingsError: another number of confidences than of classes.
        """
        if isinstance(self.confidence, tuple) and len(self.confidence) != scores.shape[1]:
            raise SettingsError(
                f"confidence has {len(self.confidence)} numbers, expected one, or one for each of {scores.shape[1]} "
                "classes"
            )
        return postprocess(
            scores,
            boxes,
            width=width,
            height=height,
            confidence=self.confidence,
            iou=self.iou,
            candidates=self.nms_candidates,
            keep=self.max_detections,
            classes=self.classes,
        )

    @property
    def nms_candidates(self) -> int:
        """Maximum number of boxes of a class that enter NMS."""
        return max(self.candidates, self.max_detections)

    def change_confidence(self, change: Callable[[float], float]) -> Self:
        """Return these options with a function applied to the threshold, or to that of each class."""
        if isinstance(self.confidence, tuple):
            return replace(self, confidence=tuple(map(change, self.confidence)))
        return replace(self, confidence=change(self.confidence))


def evaluation_options(card: "Card") -> DetectionOptions:
    """Options of a model's evaluation: the defaults, or those of its card's `suppression`."""
    own = card.suppression
    if not own:
        return DetectionOptions()
    return DetectionOptions(own["score"], own["iou"], own["keep"], candidates=own["candidates"])


def model_options(
    card: "Card",
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int = DETECTIONS_PER_IMAGE,
    classes: Sequence[int] | None = None,
) -> DetectionOptions:
    """Options of a detection with a model; None for the score and NMS thresholds of its card."""
    own = evaluation_options(card)
    return DetectionOptions(
        card.default_thresholds if confidence is None else confidence,
        own.iou if iou is None else iou,
        max_detections,
        classes,
        own.candidates,
    )


def class_ids(classes: str | int | Iterable[str | int] | None, names: Sequence[str]) -> list[int] | None:
    """Return names or ids as sorted ids, None for None; `SettingsError` on what is not among the names.

    A string of digits is an id unless a class has that name. One string may list several, "cat,dog", unless a class has
    that name.
    """
    if classes is None:
        return None
    if isinstance(classes, str):
        listed = [name.strip() for name in classes.split(",") if name.strip()]
        wanted: list[str | int] = [classes] if classes in names else [*listed]
    elif isinstance(classes, Iterable):
        wanted = list(classes)
    else:
        wanted = [classes]
    if not wanted:
        raise SettingsError("classes is empty, expected names or ids, or nothing at all for every class")
    ids = set()
    for item in wanted:
        if isinstance(item, str) and item in names:
            ids.add(names.index(item))
        elif isinstance(item, str) and not item.isdecimal():
            raise SettingsError(_unknown_class(item, names))
        elif not isinstance(item, str | Integral):
            raise SettingsError(f"class {item!r} is a {type(item).__name__}, expected a name or an id")
        elif 0 <= int(item) < len(names):
            ids.add(int(item))
        else:
            raise SettingsError(f"class id {item} is unknown, expected 0 to {len(names) - 1}")
    return sorted(ids)


def _checked_thresholds(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """Return the thresholds of the classes as a tuple of floats. Raises `SettingsError` out of 0 to 1."""
    for index, value in enumerate(values):
        check_range(f"confidence[{index}]", value)
    return tuple(map(float, values))


def check_range(name: str, value: object) -> None:
    """Raise `SettingsError` unless 0 <= value <= 1."""
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:  # NaN fails, too
        raise SettingsError(f"{name} is {value!r}, expected a number from 0 to 1")


def _unknown_class(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(name, names) or f"the model knows {', '.join(names)}"
    return f"unknown class {name!r}: {hint}"
