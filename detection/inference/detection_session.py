"""Detector session: images of the network's input size -> scores and boxes."""

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from data.errors import SettingsError, WeightsError
from pelee.runtime.selection import open_session
from pelee.runtime.session import RawOutputs, RuntimeOptions, Session
from weights.store import ModelFile

if TYPE_CHECKING:
    from torch import nn


ScoresAndBoxes = tuple[np.ndarray, np.ndarray]


def at_size(model: ModelFile, size: int) -> ModelFile:
    """The model with an input of `size` pixels a side: its weights, and those of its exports that were made for it.

    Whether the network takes that size is seen when it is built.

    Raises:
        SettingsError: an export of another size.
    """
    if model.export is not None and model.export.input_size != size:
        raise SettingsError(
            f"{model.path.parent} is exported for an input of {model.export.input_size} pixels and runs at no other "
            f"than that, not at {size}; name the weights that it was made from"
        )
    return replace(model, card=replace(model.card, input_size=size))


class DetectionSession:
    """Session of a detector, a `Session[ScoresAndBoxes]`: outputs of the graph -> scores and boxes.

    Scores are (N, P, C) float32, 0 to 1; boxes (N, P, 4) float32 xyxy, relative to the input and unclipped. A graph
    that ends in NMS returns its detections in the same form: P is their number per image, and each has a score in one
    class only. A second NMS changes nothing, so the graph's thresholds are bounds.
    """

    def __init__(self, session: Session[RawOutputs], num_classes: int) -> None:
        """Use a session of a detector's graph; `num_classes` does not count the background."""
        self.session = session
        self.num_classes = num_classes
        self.name = session.name
        self.input_size = session.input_size
        self.parallel = session.parallel
        self.batch = session.batch

    def __call__(self, images: np.ndarray) -> ScoresAndBoxes:
        return self._scores_and_boxes(self.session(images))

    def submit(self, images: np.ndarray) -> Future[ScoresAndBoxes]:
        result: Future[ScoresAndBoxes] = Future()
        result.set_running_or_notify_cancel()  # a running batch is not cancelled

        def finish(done: Future[RawOutputs]) -> None:
            try:
                result.set_result(self._scores_and_boxes(done.result()))
            except BaseException as error:
                result.set_exception(error)

        self.session.submit(images).add_done_callback(finish)
        return result

    def _scores_and_boxes(self, outputs: RawOutputs) -> ScoresAndBoxes:
        if len(outputs) == 3:
            boxes, best, labels = outputs  # (N, K, 4), (N, K), (N, K) with -1 where nothing is
            self._check_classes(int(labels.max(initial=-1)) + 1, labels.max(initial=-1) < self.num_classes)
            scores = (labels[..., None] == np.arange(self.num_classes)) * best[..., None]  # (N, K, C)
            return scores.astype(np.float32), boxes
        scores, boxes = outputs
        self._check_classes(scores.shape[2], scores.shape[2] == self.num_classes)
        return scores, boxes

    def _check_classes(self, given: int, fits: bool) -> None:
        if not fits:
            raise WeightsError(
                f"the model gives scores of {given} classes, its card names {self.num_classes}: "
                "the file and the card do not belong together"
            )


def load_runtime(model: ModelFile, options: RuntimeOptions | None = None) -> DetectionSession:
    """Open a detector in the requested runtime; see `pelee.runtime.selection.open_session` for the errors."""
    options = options or RuntimeOptions()
    size = options.size

    def build() -> "nn.Module":
        from detection.models.inference_model import DetectionGraph
        from detection.models.loading import load_network

        # At other input sizes than that of training, priors keep their size in pixels: a network trained at 304
        # (37.2 mAP) had 33.7 mAP at 224 this way, and 21.0 with priors that keep their fraction of the input.
        return DetectionGraph(load_network(model), size, in_pixels=True)

    opened = model if size is None else at_size(model, size)
    session = open_session(opened, build, options)
    return DetectionSession(session, len(model.card.class_names))
