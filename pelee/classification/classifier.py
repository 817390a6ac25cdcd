"""`Classifier`: images in, class names with probabilities out. It imports no torch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

import numpy as np

from data.errors import ImageError, SettingsError, WeightsError
from data.images.prefetch import prefetch
from data.images.preprocess import preprocess
from pelee.classification.results import Classification
from pelee.image_input import ImageInput, is_single, list_images, to_rgb_array
from pelee.runtime.exit_gate import exit_gate
from weights.card import Card

if TYPE_CHECKING:
    from torch import nn

    from pelee.runtime.session import RawOutputs, Session
    from weights.store import ModelFile


BATCH = 16  # images per batch; bounds the memory of a long list


class ClassifiedFiles(NamedTuple):
    """Result of `Classifier.stream` for a batch of its files.

    Attributes:
        indices: indices of the n files that were read.
        sizes: their (width, height) in pixels.
        probabilities: (n, C) float32.
        errors: (index, error) of the files that could not be read.
    """

    indices: list[int]
    sizes: list[tuple[int, int]]
    probabilities: np.ndarray
    errors: list[tuple[int, ImageError]]


class Classifier:
    """Image classifier: preprocessing, a runtime session and the model's class names.

    Safe to use from any number of threads. Pickling, and a forked process: as for `detection.Detector`.

    Attributes:
        card: the model's card.
        session: runs the model's graph.
    """

    def __init__(self, session: "Session[RawOutputs]", card: Card) -> None:
        """Use a session of a `ClassificationGraph` and its card; `Classifier.load` finds both by name."""
        self.session = session
        self.card = card
        self._reload: Callable[[], Classifier] | None = None

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "peleenet-tiny-imagenet",
        *,
        runtime: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        mode: str = "latency",
        input_size: int | None = None,
    ) -> Self:
        """Load a shipped model by name, or any model by its folder or file.

        Args:
            name_or_path: see `weights.store.resolve`.
            runtime, device, precision, mode: see `pelee.runtime.selection.open_session`.
            input_size: side of the network's input in pixels; None for the card's. Another size than the card's runs
                in torch, since the size of an export is fixed.

        Raises:
            WeightsError: no such model, a damaged model, or a model of another task.
            SettingsError: an unavailable runtime, device or precision, or an unsupported size.
        """
        from pelee.runtime.session import check_input_size
        from weights.store import resolve

        if input_size is not None:
            check_input_size(input_size)
        model = resolve(name_or_path)
        if model.card.task != "classification":
            raise WeightsError(
                f"{name_or_path}: a model for {model.card.task}, expected one for classification; see pelee-models"
            )

        given: dict[str, Any] = {"runtime": runtime, "device": device, "precision": precision, "mode": mode}
        given["input_size"] = input_size
        if input_size is not None:
            if runtime not in ("auto", "torch") or model.export is not None:
                raise SettingsError(f"input size {input_size}: only a model's own weights in torch take another size")
            runtime = "torch"
            model = replace(model, card=replace(model.card, input_size=input_size))
        try:
            session = load_session(model, runtime=runtime, device=device, precision=precision, mode=mode)
        except RuntimeError:  # a pooling without input left, or a linear layer for one size only
            if input_size is None:
                raise
            raise SettingsError(f"{model.card.name} takes no images of {input_size} px; take larger") from None
        classifier = cls(session, model.card)
        location = name_or_path if str(name_or_path) == model.card.name else Path(name_or_path).absolute()
        classifier._reload = partial(cls.load, location, **given)
        return classifier

    def __reduce__(self) -> "tuple[Callable[[], Classifier], tuple[()]]":
        if self._reload is None:
            raise TypeError("a Classifier of a session cannot be pickled, only one of Classifier.load")
        return self._reload, ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the class ids, 0-based."""
        return tuple(self.card.class_names)

    @property
    def input_size(self) -> int:
        """Side of the network's square input, pixels."""
        return self.session.input_size

    @property
    def runtime(self) -> str:
        """Name of the runtime and the device, for people."""
        return self.session.name

    @overload  # a str is a sequence of str to the checker, too
    def __call__(self, source: ImageInput) -> Classification: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, source: Iterable[ImageInput]) -> list[Classification]: ...

    def __call__(self, source: ImageInput | Iterable[ImageInput]) -> Classification | list[Classification]:
        """Classify an image, or each of several images.

        Args:
            source: an image, or an iterable of images, in any form of `pelee.image_input.to_rgb_array`. Arrays and
                tensors of four dimensions are several images.

        Returns:
            A `Classification`, of which `.top(5)` are the five most probable classes; a list of them for several
            images.

        Raises:
            ImageError: an image that cannot be read, or an object of another kind.
        """
        single = is_single(source)
        remaining = iter([source] if single else list_images(source))
        results: list[Classification] = []
        while squares := [self._prepare(image)[0] for image in islice(remaining, BATCH)]:
            with exit_gate:
                results += self.results(self._checked(self.session(np.stack(squares))))
        return results[0] if single else results

    def stream(
        self,
        files: Sequence[Path],
        *,
        batch: int = BATCH,
        workers: int = 4,
        read: Callable[[int], np.ndarray] | None = None,
    ) -> Iterator[ClassifiedFiles]:
        """Classify many files; threads prefetch images while the network runs.

        Args:
            files: any number; at most two batches and those in flight are in memory, at the network's input size.
            batch: images per batch.
            workers: threads that read images.
            read: returns file number i as (H, W, 3) uint8 RGB, or raises ImageError; None reads the file unchanged.

        Yields:
            Batches in the order of the files; each file is in exactly one of them, readable or not.

        Raises:
            SettingsError: a batch size or a number of workers below 1.
            WeightsError: the network's output is NaN.
        """
        if min(batch, workers) < 1:
            raise SettingsError(f"a batch of {batch} images read by {workers} workers; expected at least 1 of each")
        pending: deque[tuple[ClassifiedFiles, Future[tuple[np.ndarray, ...]] | None]] = deque()
        empty = np.zeros((0, len(self.card.class_names)), np.float32)
        part, squares = ClassifiedFiles([], [], empty, []), []
        prepared = prefetch(
            range(len(files)),
            lambda index: self._prepare(read(index) if read else files[index]),
            workers=workers,
            ahead=2 * batch,
        )
        for index, result in prepared:
            if isinstance(result, ImageError):
                part.errors.append((index, result))
            else:
                square, width, height = result
                part.indices.append(index)
                part.sizes.append((width, height))
                squares.append(square)
            if len(squares) == batch or index == len(files) - 1:
                pending.append((part, self.session.submit(np.stack(squares)) if squares else None))
                part, squares = ClassifiedFiles([], [], empty, []), []
            if len(pending) > self.session.parallel:
                yield self._finished(*pending.popleft())
        while pending:
            yield self._finished(*pending.popleft())

    def results(self, probabilities: np.ndarray) -> list[Classification]:
        """Probabilities (N, C) as a `Classification` for each image."""
        return [Classification(row, self.class_names) for row in probabilities]

    def _prepare(self, source: ImageInput) -> tuple[np.ndarray, int, int]:
        """The network's input, (S, S, 3) uint8 RGB, and the width and height of the original image in pixels."""
        with exit_gate:
            image = to_rgb_array(source)
            height, width = image.shape[:2]
            return preprocess(np.ascontiguousarray(image), self.input_size), width, height

    def _finished(self, part: ClassifiedFiles, future: Future[tuple[np.ndarray, ...]] | None) -> ClassifiedFiles:
        return part if future is None else part._replace(probabilities=self._checked(future.result()))

    def _checked(self, outputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """The graph's single output; raises `WeightsError` on NaN, which would make every comparison false."""
        (probabilities,) = outputs
        if not np.isfinite(probabilities).all():
            raise WeightsError(f"{self.card.name} gives NaN on {self.runtime}; try another precision or runtime")
        return probabilities


def load_session(model: "ModelFile", **options: str) -> "Session[RawOutputs]":
    """Open a classifier's session on this machine; see `pelee.runtime.selection.open_session` for options and errors.

    The session classifies one black image as a check: a graph that does not fit its card raises a `WeightsError`.
    """
    from pelee.runtime.selection import open_session
    from pelee.runtime.session import RuntimeOptions

    def build() -> "nn.Module":
        from pelee.classification.inference_model import ClassificationGraph
        from pelee.classification.loading import load_network

        return ClassificationGraph(load_network(model))

    session = open_session(model, build, RuntimeOptions(**options))  # type: ignore[arg-type]
    card = model.card
    shapes = [output.shape for output in session(np.zeros((1, card.input_size, card.input_size, 3), np.uint8))]
    if shapes != [(1, len(card.class_names))]:
        raise WeightsError(
            f"{model.path}: gives {' and '.join(map(str, shapes))}, its card names {len(card.class_names)} classes: "
            "the file and the card do not belong together; get or export the model again"
        )
    return session
