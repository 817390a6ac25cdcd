"""Where the detector runs. A runtime takes pictures of the network's size and gives scores and boxes."""

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from data.errors import SettingsError, WeightsError
from pelee.runtime.selection import open_session
from pelee.runtime.session import Outputs, Session
from weights.store import ModelFile

if TYPE_CHECKING:
    from torch import nn


ScoresAndBoxes = tuple[np.ndarray, np.ndarray]


class Runtime(Protocol):
    """One way of running one model. Calls may come from several threads.

    Attributes:
        name: runtime, precision and device, such as "openvino int8 CPU".
        input_size: side of the square pictures that it takes, in pixels.
        parallel: how many `submit`s it can usefully have in flight: 1 where one already uses the whole machine.
        batch: how many pictures a `submit` takes best, where more are at hand.
    """

    name: str
    input_size: int
    parallel: int
    batch: int

    def __call__(self, images: np.ndarray) -> ScoresAndBoxes:
        """Run a batch: (N, S, S, 3) uint8 RGB -> scores (N, P, C) float32, 0 to 1, and boxes (N, P, 4) float32 xyxy,
        relative to the input and unclipped.

        A graph that ends in NMS gives what it kept in the same form: P is its number of detections a picture, and
        each has a score in one class only. To suppress again changes nothing, so its thresholds are bounds.
        """
        ...

    def submit(self, images: np.ndarray) -> Future[ScoresAndBoxes]:
        """Start a batch and return at once, or as soon as there is room for it; results come in any order.

        The arrays are the caller's own: no later call changes them. `images` must stay as they are until then.
        """
        ...


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


def load_runtime(
    model: ModelFile,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    mode: str = "latency",
    compile: bool = False,
    size: int | None = None,
) -> Runtime:
    """The runtime for a model on this machine, at an input of `size` pixels a side, or of the card's.

    See `pelee.runtime.selection.open_session` for the other arguments and the errors.
    """

    def build() -> "nn.Module":
        from detection.models.inference_model import DetectionGraph
        from detection.models.loading import load_network

        # At another size than the network learnt at its boxes fit the objects' pixels, not their share of the input:
        # at 224, one trained at 304 (37.2 mAP) had 21.0 with priors of those shares and 33.7 with these.
        return DetectionGraph(load_network(model), size, in_pixels=True)

    opened = model if size is None else at_size(model, size)
    session = open_session(
        opened, build, runtime=runtime, device=device, precision=precision, mode=mode, compile=compile
    )
    return SessionRuntime(session, len(model.card.class_names))


class SessionRuntime:
    """A `Runtime` from a session of a graph with NMS or without."""

    def __init__(self, session: Session, num_classes: int) -> None:
        """Take a session and the number of classes without background."""
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
        result.set_running_or_notify_cancel()  # what runs is not taken back

        def finish(done: Future[Outputs]) -> None:
            try:
                result.set_result(self._scores_and_boxes(done.result()))
            except BaseException as error:
                result.set_exception(error)

        self.session.submit(images).add_done_callback(finish)
        return result

    def _scores_and_boxes(self, outputs: Outputs) -> ScoresAndBoxes:
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
