"""`Detector`: pictures in, boxes with names out. The class that users meet; it imports no torch."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

import numpy as np

from data.errors import ImageError, SettingsError, WeightsError
from data.images import read_image
from data.preprocess import preprocess
from detection.postprocess import CANDIDATES, Prediction, postprocess
from detection.results import to_detections
from detection.timing import StageTimer
from weights.card import Card

if TYPE_CHECKING:
    from supervision import Detections

    from detection.runtime import Runtime

Picture = str | Path | np.ndarray
BATCH = 16  # a long list of pictures goes through in parts, so that memory stays bounded


class Detector:
    """A network that runs, the card that describes it, and the way from a picture to its boxes.

    Attributes:
        card: the model's card.
        timer: times per stage of everything this detector did.
    """

    def __init__(self, runtime: "Runtime", card: Card) -> None:
        """Take a runtime and its card; `Detector.load` finds both by name."""
        self._runtime = runtime
        self.card = card
        self.timer = StageTimer()

    @classmethod
    def load(cls, name_or_path: str | Path = "pelee-voc") -> Self:
        """Load a shipped model by name, or one's own by its folder or file; `WeightsError` where that fails."""
        from detection.runtime import load_runtime
        from weights.store import resolve

        model = resolve(name_or_path)
        if model.card.task != "detection":
            raise WeightsError(
                f"{name_or_path}: a model for {model.card.task}, expected one for detection; see pelee-models"
            )
        return cls(load_runtime(model), model.card)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels, 0-based; there is no background."""
        return tuple(self.card.class_names)

    @property
    def input_size(self) -> int:
        """Side of the network's square input, pixels."""
        return self._runtime.input_size

    @overload  # a str is a sequence of str to the checker, too
    def __call__(  # type: ignore[overload-overlap]
        self,
        source: Picture,
        confidence: float | None = None,
        iou: float = 0.45,
        classes: Sequence[str | int] | None = None,
        max_detections: int = 200,
    ) -> "Detections": ...

    @overload
    def __call__(
        self,
        source: Sequence[Picture],
        confidence: float | None = None,
        iou: float = 0.45,
        classes: Sequence[str | int] | None = None,
        max_detections: int = 200,
    ) -> "list[Detections]": ...

    def __call__(
        self,
        source: Picture | Sequence[Picture],
        confidence: float | None = None,
        iou: float = 0.45,
        classes: Sequence[str | int] | None = None,
        max_detections: int = 200,
    ) -> "Detections | list[Detections]":
        """Detect what is in a picture, or in each of a list of them.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, or a list of either.
            confidence: only what scores above it, 0 to 1, is returned; None takes the card's.
            iou: of two boxes of one class that overlap more than this, 0 to 1, the better one stays.
            classes: names or ids to look for; None for all.
            max_detections: at most so many per picture, the best ones.

        Returns:
            `supervision.Detections`, best first: `xyxy` in pixels of the picture as `data.images.read_image` returns
            it (upright), `confidence`, `class_id`, and names in `data["class_name"]`. A list for a list.

        Raises:
            ImageError: a picture that cannot be read, an array of another kind.
            SettingsError: a class that the model does not know, a number out of range.
        """
        single = isinstance(source, (str, Path, np.ndarray))
        pictures: Sequence[Picture] = [source] if single else source  # type: ignore[assignment,list-item]
        confidence = self.card.default_confidence if confidence is None else confidence
        results: list[Detections] = []
        for start in range(0, len(pictures), BATCH):
            images = [self.read(picture) for picture in pictures[start : start + BATCH]]
            predictions = self.predict_batch(images, confidence, iou, max_detections, classes)
            results += [to_detections(prediction, self.class_names) for prediction in predictions]
        return results[0] if single else results

    def read(self, picture: Picture) -> np.ndarray:
        """Return a picture as (H, W, 3) uint8 RGB, read from its path where it is one."""
        if not isinstance(picture, (str, Path)):
            return picture
        with self.timer.stage("decode"):
            return read_image(picture)

    def predict_batch(
        self,
        images: Sequence[np.ndarray],
        confidence: float = 0.01,
        iou: float = 0.45,
        max_detections: int = 200,
        classes: Sequence[str | int] | None = None,
    ) -> list[Prediction]:
        """Detect in (H, W, 3) uint8 RGB pictures of any sizes, as one batch; the defaults are those of evaluation.

        Returns one `Prediction` a picture, boxes in its pixels, best first. Errors as in `__call__`.
        """
        check_range("confidence", confidence)
        check_range("iou", iou)
        if max_detections < 1:
            raise SettingsError(f"max_detections is {max_detections}, expected at least 1")
        wanted = self.class_ids(classes)
        for image in images:
            check_image(image)
        if not images:
            return []
        with self.timer.stage("preprocess", len(images)):
            size = self.input_size
            batch = np.stack([preprocess(np.ascontiguousarray(image), size) for image in images])
        with self.timer.stage("network", len(images)):
            scores, boxes = self._runtime(batch)  # (N, P, C), (N, P, 4)
        with self.timer.stage("postprocess", len(images)):
            return [
                postprocess(
                    scores[index],
                    boxes[index],
                    width=image.shape[1],
                    height=image.shape[0],
                    confidence=confidence,
                    iou=iou,
                    candidates=max(CANDIDATES, max_detections),
                    keep=max_detections,
                    classes=wanted,
                )
                for index, image in enumerate(images)
            ]

    def class_ids(self, classes: Sequence[str | int] | None) -> list[int] | None:
        """Return names or ids as sorted ids, None for None; `SettingsError` on what the model does not know.

        A string of digits is an id unless a class bears that name.
        """
        if classes is None:
            return None
        names = self.class_names
        wanted = [classes] if isinstance(classes, str) else list(classes)
        if not wanted:
            raise SettingsError("classes is empty, expected names or ids, or nothing at all for every class")
        ids = set()
        for item in wanted:
            if isinstance(item, str) and item in names:
                ids.add(names.index(item))
            elif isinstance(item, str) and not item.isdecimal():
                raise SettingsError(_unknown_class(item, names))
            elif 0 <= int(item) < len(names):
                ids.add(int(item))
            else:
                raise SettingsError(f"class id {item} is unknown, expected 0 to {len(names) - 1}")
        return sorted(ids)


def check_range(name: str, value: float) -> None:
    """Raise `SettingsError` unless 0 <= value <= 1."""
    if not 0 <= value <= 1:  # NaN fails, too
        raise SettingsError(f"{name} is {value}, expected a number from 0 to 1")


def check_image(image: object) -> None:
    """Raise `ImageError` unless it is an (H, W, 3) uint8 array with pixels; the message says what to do."""
    expected = "expected (height, width, 3) uint8 RGB"
    if not isinstance(image, np.ndarray):
        raise ImageError(f"a {type(image).__name__} is no picture, {expected}; a PIL image goes as np.array(image)")
    found = f"an array of shape {image.shape} {image.dtype} is no picture, {expected}"
    if image.ndim == 4:
        raise ImageError(f"{found}; pass several pictures as a list")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ImageError(f"{found}; repeat a grey picture's channel with cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)")
    if image.ndim != 3 or image.shape[2] != 3:
        channels = "; drop the alpha channel with image[..., :3]" if image.ndim == 3 and image.shape[2] == 4 else ""
        raise ImageError(f"{found}{channels}")
    if image.dtype != np.uint8:
        raise ImageError(f"{found}; scale to 0..255 and convert with .astype(np.uint8)")
    if image.size == 0:
        raise ImageError(f"{found} with at least one pixel")


def _unknown_class(name: str, names: Sequence[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f"did you mean {by_lower[near[0]]!r}?" if near else f"the model knows {', '.join(names)}"
    return f"unknown class {name!r}: {hint}"
