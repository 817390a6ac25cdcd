"""`Detector`, the Python interface: images in, boxes with class names out. Imports no torch."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

import numpy as np

from data.errors import WeightsError
from data.images.preprocess import preprocess
from data.images.validation import check_image
from detection.inference.options import DetectionOptions, class_ids, evaluation_options
from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_detections
from detection.inference.stage_timer import StageTimer
from detection.inference.thresholds import DETECTIONS_PER_IMAGE, Confidence
from detection.tiling.tiled_batch import TiledBatch
from detection.tiling.tiling import Tiling
from pelee.image_input import ImageInput, is_single, list_images, to_rgb_array
from pelee.runtime.exit_gate import exit_gate
from weights.card import Card

if TYPE_CHECKING:
    from supervision import Detections

    from detection.inference.detection_session import ScoresAndBoxes
    from pelee.runtime.session import Session


BATCH = 16  # images per batch; bounds the memory of a long list


class Detector:
    """Object detector: preprocessing, a runtime session, post-processing, and the model's class names.

    Safe to use from any number of threads. Pickling stores how the detector was loaded; it is loaded again where it is
    unpickled. After a fork, the child opens a session of its own at its first call; PyTorch raises a `SettingsError`
    there, since it cannot run in a forked process.

    Attributes:
        card: the model's card.
        timer: times of each stage, over all calls.
        runtime: session that runs the network.
    """

    def __init__(self, runtime: "Session[ScoresAndBoxes]", card: Card) -> None:
        """Use a session and the card of its model; `Detector.load` finds both by name."""
        self.runtime = runtime
        self.card = card
        self.timer = StageTimer()
        self._reload: Callable[[], Detector] | None = None

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
        """Load a shipped model by name, or any model or export by its folder or file, in the fastest runtime.

        Args:
            name_or_path: see `weights.store.resolve`.
            runtime, device, precision, compile: see `pelee.runtime.selection.open_session`.
            mode: "latency" for one image at a time, "throughput" for many through `submit`.
            size: side of the network's input in pixels, a multiple of 16 from 64 to 4096; None for the card's. The size
                of an export is fixed.

        Raises:
            WeightsError: no such model, a damaged model, or a model of another task.
            SettingsError: an unavailable runtime, device or precision, or an unsupported size.
        """
        from detection.inference.detection_session import load_runtime
        from pelee.runtime.session import RuntimeOptions
        from weights.store import resolve

        options = RuntimeOptions(runtime, device, precision, mode, compile, size)
        model = resolve(name_or_path)
        if model.card.task != "detection":
            raise WeightsError(
                f"{name_or_path}: a model for {model.card.task}, expected one for detection; see pelee-models"
            )
        detector = cls(load_runtime(model, options), model.card)
        location = name_or_path if str(name_or_path) == model.card.name else Path(name_or_path).absolute()
        detector._reload = partial(cls.load, location, **asdict(options))
        return detector

    def __reduce__(self) -> "tuple[Callable[[], Detector], tuple[()]]":
        if self._reload is None:
            raise TypeError("a Detector of a session cannot be pickled, only one of Detector.load")
        return self._reload, ()

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
        source: ImageInput,
        confidence: Confidence | None = None,
        iou: float | None = None,
        classes: str | int | Iterable[str | int] | None = None,
        max_detections: int = DETECTIONS_PER_IMAGE,
        tiles: "Tiling | str" = "off",
    ) -> "Detections": ...

    @overload
    def __call__(
        self,
        source: Iterable[ImageInput],
        confidence: Confidence | None = None,
        iou: float | None = None,
        classes: str | int | Iterable[str | int] | None = None,
        max_detections: int = DETECTIONS_PER_IMAGE,
        tiles: "Tiling | str" = "off",
    ) -> "list[Detections]": ...

    def __call__(
        self,
        source: ImageInput | Iterable[ImageInput],
        confidence: Confidence | None = None,
        iou: float | None = None,
        classes: str | int | Iterable[str | int] | None = None,
        max_detections: int = DETECTIONS_PER_IMAGE,
        tiles: "Tiling | str" = "off",
    ) -> "Detections | list[Detections]":
        """Detect objects in an image, or in each of several images.

        Args:
            source: an image, or an iterable of images. An image is a path, the bytes of a file, a binary file, a PIL
                image, an RGB, gray or RGBA array (H, W, C), or a tensor (3, H, W); see
                `pelee.image_input.to_rgb_array`. Arrays and tensors of four dimensions are several images.
            confidence: score threshold, 0 to 1, or a tuple of one for each class; None for the card's.
            iou: NMS threshold, 0 to 1; of two boxes of one class with a larger IoU, the lower score is dropped. None
                for the card's.
            classes: names or ids to return, as a list or as in "cat,dog"; None for all.
            max_detections: maximum number of detections per image; those of the highest scores.
            tiles: tiles to detect in beside the whole image, for small objects: "off", "auto", "2" for 2 × 2, "2x3"
                for 2 rows and 3 columns, "2+3" for both grids, or a `detection.tiling.tiling.Tiling`.

        Returns:
            `supervision.Detections`, best first: `xyxy` in pixels of the upright image that
            `data.images.image_io.read_image` returns, `confidence`, `class_id`, and names in `data["class_name"]`. A
            list of them for several images.

        Raises:
            ImageError: an image that cannot be read, or an object of another kind.
            SettingsError: an unknown class, or a number out of range.
        """
        single = is_single(source)
        remaining = iter([source] if single else list_images(source))
        confidence = self.card.default_thresholds if confidence is None else confidence
        tiling = Tiling.parse(tiles) if isinstance(tiles, str) else tiles
        results: list[Detections] = []
        while images := [self.read(image) for image in islice(remaining, BATCH)]:
            with exit_gate:
                predictions = self.predict_batch(images, confidence, iou, max_detections, classes, tiling)
                results += [to_detections(prediction, self.class_names) for prediction in predictions]
        return results[0] if single else results

    def read(self, image: ImageInput) -> np.ndarray:
        """Return an image as (H, W, 3) uint8 RGB; see `pelee.image_input.to_rgb_array`."""
        if isinstance(image, np.ndarray):
            with exit_gate:
                return to_rgb_array(image)
        with exit_gate, self.timer.stage("decode"):
            return to_rgb_array(image)

    def predict_batch(
        self,
        images: Sequence[np.ndarray],
        confidence: Confidence | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        classes: str | int | Iterable[str | int] | None = None,
        tiling: Tiling | None = None,
    ) -> list[Prediction]:
        """Detect in (H, W, 3) uint8 RGB images of any sizes, as one batch; None is the model's option of evaluation.

        Returns one `Prediction` per image, boxes in its pixels, sorted by score. Errors as in `__call__`.
        """
        own = evaluation_options(self.card)
        search = replace(
            own,
            confidence=own.confidence if confidence is None else confidence,
            iou=own.iou if iou is None else iou,
            max_detections=own.max_detections if max_detections is None else max_detections,
            classes=self.class_ids(classes),
        )
        if not images:
            return []
        if tiling is not None:
            for image in images:
                check_image(image)
            tiles = [tiling.tiles(width, height, self.input_size) for width, height in _sizes(images)]
            return self.submit(images, search, tiles).result()
        with exit_gate:
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
        with exit_gate:
            if tiles is None:
                return DetectionFuture(self, self._start(images), _sizes(images), search)
            return TiledBatch(images, tiles, search, self._start, self.timer)

    def _start(self, images: Sequence[np.ndarray]) -> "Future[ScoresAndBoxes]":
        """Preprocess and submit a batch to the session."""
        batch = self._batch(images)
        start = time.perf_counter()
        future = self.runtime.submit(batch)
        future.add_done_callback(lambda _: self.timer.add("network", time.perf_counter() - start, len(batch)))
        return future

    def _batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Preprocess images -> (N, S, S, 3), uint8 or float32 as the card's `preprocessing.resize`."""
        for image in images:
            check_image(image)
        with self.timer.stage("preprocess", len(images)):
            size = self.input_size
            return np.stack([preprocess(np.ascontiguousarray(image), size, self.card.resize) for image in images])

    def postprocess(
        self, outputs: "ScoresAndBoxes", sizes: Sequence[tuple[int, int]], search: DetectionOptions
    ) -> list[Prediction]:
        """Scores (N, P, C) and boxes (N, P, 4) -> a prediction for each image, whose sizes are (width, height)."""
        with self.timer.stage("postprocess", len(sizes)):
            return [
                search.postprocess(scores, boxes, width=width, height=height)
                for scores, boxes, (width, height) in zip(*outputs, sizes, strict=True)
            ]

    def class_ids(self, classes: str | int | Iterable[str | int] | None) -> list[int] | None:
        """The module's `class_ids` with the model's names."""
        return class_ids(classes, self.class_names)


class DetectionFuture:
    """Future of a batch, returned by `Detector.submit`."""

    def __init__(
        self,
        detector: Detector,
        future: "Future[ScoresAndBoxes]",
        sizes: Sequence[tuple[int, int]],
        search: DetectionOptions,
    ) -> None:
        """Use the future of the raw outputs; the rest is for their post-processing."""
        self._detector, self._future, self._sizes, self._search = detector, future, sizes, search

    def result(self) -> list[Prediction]:
        """Wait for the network and postprocess, in the caller's thread: one prediction per image."""
        with exit_gate:
            return self._detector.postprocess(self._future.result(), self._sizes, self._search)


def _sizes(images: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Width and height of each image, pixels."""
    return [(image.shape[1], image.shape[0]) for image in images]
