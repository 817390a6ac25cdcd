"""`Detector`: pictures in, boxes with names out. The class that users meet; it imports no torch."""

import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

import numpy as np

from data.errors import WeightsError
from data.images.image_io import read_image
from data.images.preprocess import preprocess
from data.images.validation import check_image
from detection.inference.options import DetectionOptions, class_ids
from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_detections
from detection.inference.stage_timer import StageTimer
from detection.inference.thresholds import DETECTIONS_PER_IMAGE, NMS_THRESHOLD, SCORE_THRESHOLD
from detection.tiling.tiled_batch import TiledBatch
from detection.tiling.tiling import Tiling
from weights.card import Card

if TYPE_CHECKING:
    from supervision import Detections

    from detection.inference.detection_session import ScoresAndBoxes
    from pelee.runtime.session import Session


Picture = str | Path | np.ndarray
BATCH = 16  # a long list of pictures goes through in parts, so that memory stays bounded


class Detector:
    """A network that runs, the card that describes it, and the way from a picture to its boxes.

    Attributes:
        card: the model's card.
        timer: times per stage of everything this detector did.
        runtime: what the network runs in.
    """

    def __init__(self, runtime: "Session[ScoresAndBoxes]", card: Card) -> None:
        """Take a runtime and its card; `Detector.load` finds both by name."""
        self.runtime = runtime
        self.card = card
        self.timer = StageTimer()

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "pelee-voc",
        *,
        runtime: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        mode: str = "latency",
        compile: bool = False,
        size: int | None = None,
    ) -> Self:
        """Load a shipped model by name, or one's own or an export by its folder or file, in the fastest runtime here.

        Args:
            name_or_path: the model.
            runtime, device, precision, compile: where and how the network runs, see
                `pelee.runtime.selection.open_session`.
            mode: "latency" for one picture at a time, "throughput" for many through `submit`.
            size: side of the network's input, a multiple of 16 of at least 64 pixels; None for the card's. Weights
                run at any, an export at its own only.

        Raises:
            WeightsError: there is no such model, or it is damaged.
            SettingsError: what is asked for is unknown or not here.
        """
        from detection.inference.detection_session import load_runtime
        from pelee.runtime.session import RuntimeOptions
        from weights.store import resolve

        model = resolve(name_or_path)
        if model.card.task != "detection":
            raise WeightsError(
                f"{name_or_path}: a model for {model.card.task}, expected one for detection; see pelee-models"
            )
        options = RuntimeOptions(runtime, device, precision, mode, compile, size)
        loaded = load_runtime(model, options)
        return cls(loaded, model.card)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels, 0-based; there is no background."""
        return tuple(self.card.class_names)

    @property
    def input_size(self) -> int:
        """Side of the network's square input, pixels."""
        return self.runtime.input_size

    @overload  # a str is a sequence of str to the checker, too
    def __call__(  # type: ignore[overload-overlap]
        self,
        source: Picture,
        confidence: float | None = None,
        iou: float = NMS_THRESHOLD,
        classes: Sequence[str | int] | None = None,
        max_detections: int = DETECTIONS_PER_IMAGE,
        tiles: "Tiling | str" = "off",
    ) -> "Detections": ...

    @overload
    def __call__(
        self,
        source: Sequence[Picture],
        confidence: float | None = None,
        iou: float = NMS_THRESHOLD,
        classes: Sequence[str | int] | None = None,
        max_detections: int = DETECTIONS_PER_IMAGE,
        tiles: "Tiling | str" = "off",
    ) -> "list[Detections]": ...

    def __call__(
        self,
        source: Picture | Sequence[Picture],
        confidence: float | None = None,
        iou: float = NMS_THRESHOLD,
        classes: Sequence[str | int] | None = None,
        max_detections: int = DETECTIONS_PER_IMAGE,
        tiles: "Tiling | str" = "off",
    ) -> "Detections | list[Detections]":
        """Detect what is in a picture, or in each of a list of them.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, or a list of either.
            confidence: only what scores above it, 0 to 1, is returned; None takes the card's.
            iou: of two boxes of one class that overlap more than this, 0 to 1, the better one stays.
            classes: names or ids to look for; None for all.
            max_detections: at most so many per picture, the best ones.
            tiles: tiles to detect in beside the whole image, for small objects: "off", "auto", "2" for 2 × 2, "2x3"
                for 2 rows and 3 columns, "2+3" for both grids, or a `detection.tiling.tiling.Tiling`.

        Returns:
            `supervision.Detections`, best first: `xyxy` in pixels of the upright image that
            `data.images.image_io.read_image` returns, `confidence`, `class_id`, and names in `data["class_name"]`. A
            list for a list.

        Raises:
            ImageError: a picture that cannot be read, an array of another kind.
            SettingsError: a class that the model does not know, a number out of range.
        """
        single = isinstance(source, (str, Path, np.ndarray))
        pictures: Sequence[Picture] = [source] if single else source  # type: ignore[assignment,list-item]
        confidence = self.card.default_confidence if confidence is None else confidence
        tiling = Tiling.parse(tiles) if isinstance(tiles, str) else tiles
        results: list[Detections] = []
        for start in range(0, len(pictures), BATCH):
            images = [self.read(picture) for picture in pictures[start : start + BATCH]]
            predictions = self.predict_batch(images, confidence, iou, max_detections, classes, tiling)
            results += [to_detections(prediction, self.class_names) for prediction in predictions]
        return results[0] if single else results

    def read(self, picture: Picture) -> np.ndarray:
        """Return a picture as (H, W, 3) uint8 RGB, read from its path where it is one."""
        if not isinstance(picture, (str, Path)):
            return picture
        with self.timer.stage("decode"):
            return read_image(picture, on_damage=warnings.warn)

    def predict_batch(
        self,
        images: Sequence[np.ndarray],
        confidence: float = SCORE_THRESHOLD,
        iou: float = NMS_THRESHOLD,
        max_detections: int = DETECTIONS_PER_IMAGE,
        classes: Sequence[str | int] | None = None,
        tiling: Tiling | None = None,
    ) -> list[Prediction]:
        """Detect in (H, W, 3) uint8 RGB pictures of any sizes, as one batch; the defaults are those of evaluation.

        Returns one `Prediction` a picture, boxes in its pixels, best first. Errors as in `__call__`.
        """
        search = DetectionOptions(confidence, iou, max_detections, self.class_ids(classes))
        if not images:
            return []
        if tiling is not None:
            for image in images:
                check_image(image)
            tiles = [tiling.tiles(width, height, self.input_size) for width, height in _sizes(images)]
            return self.submit(images, search, tiles).result()
        batch = self._batch(images)
        with self.timer.stage("network", len(images)):
            outputs = self.runtime(batch)
        return self.postprocess(outputs, _sizes(images), search)

    def submit(
        self, images: Sequence[np.ndarray], search: DetectionOptions, tiles: Sequence[np.ndarray] | None = None
    ) -> "DetectionFuture | TiledBatch":
        """Start what `predict_batch` does with at least one image, and return at once, or when there is room.

        The network works on while the caller does other things; keep one more under way than `runtime.parallel`. The
        images are no longer needed once this returns. `result()` of the returned object waits for the predictions.

        Args:
            images: (H, W, 3) uint8 RGB.
            search: thresholds and classes.
            tiles: for each image the tiles to detect in beside it, (T, 4) int64 xyxy in pixels; see
                `detection.tiling.tiling.Tiling.tiles`.
        """
        if tiles is None:
            return DetectionFuture(self, self._start(images), _sizes(images), search)
        return TiledBatch(images, tiles, search, self._start, self.postprocess)

    def _start(self, images: Sequence[np.ndarray]) -> "Future[ScoresAndBoxes]":
        """Preprocess and submit a batch to the session."""
        batch = self._batch(images)
        start = time.perf_counter()
        future = self.runtime.submit(batch)
        future.add_done_callback(lambda _: self.timer.add("network", time.perf_counter() - start, len(batch)))
        return future

    def _batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures -> (N, S, S, 3) uint8."""
        for image in images:
            check_image(image)
        with self.timer.stage("preprocess", len(images)):
            size = self.input_size
            return np.stack([preprocess(np.ascontiguousarray(image), size) for image in images])

    def postprocess(
        self, outputs: "ScoresAndBoxes", sizes: Sequence[tuple[int, int]], search: DetectionOptions
    ) -> list[Prediction]:
        """Scores (N, P, C) and boxes (N, P, 4) -> a prediction for each picture of a size (width, height)."""
        with self.timer.stage("postprocess", len(sizes)):
            return [
                search.postprocess(scores, boxes, width=width, height=height)
                for scores, boxes, (width, height) in zip(*outputs, sizes, strict=True)
            ]

    def class_ids(self, classes: Sequence[str | int] | None) -> list[int] | None:
        """The module's `class_ids` with the model's names."""
        return class_ids(classes, self.class_names)


class DetectionFuture:
    """What `Detector.submit` returns: a batch under way."""

    def __init__(
        self,
        detector: Detector,
        future: "Future[ScoresAndBoxes]",
        sizes: Sequence[tuple[int, int]],
        search: DetectionOptions,
    ) -> None:
        """Take what the result is made of."""
        self._detector, self._future, self._sizes, self._search = detector, future, sizes, search

    def result(self) -> list[Prediction]:
        """Wait for the network and postprocess, in the caller's thread: one prediction a picture."""
        return self._detector.postprocess(self._future.result(), self._sizes, self._search)


def _sizes(images: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Each picture's width and height, pixels."""
    return [(image.shape[1], image.shape[0]) for image in images]
