"""`Classifier`: pictures in, names with probabilities out. It imports no torch."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, overload

import numpy as np

from data.errors import ImageError, SettingsError, WeightsError
from data.images.image_io import read_image
from data.images.prefetch import prefetch
from data.images.preprocess import preprocess
from data.images.validation import check_image
from pelee.classification.results import Classification
from weights.card import Card

if TYPE_CHECKING:
    from torch import nn

    from pelee.runtime.session import Session
    from weights.store import ModelFile


ImageInput = str | Path | np.ndarray
BATCH = 16  # a long list of pictures goes through in parts, so that memory stays bounded


class ClassifiedFiles(NamedTuple):
    """What `Classifier.stream` says of some of its files.

    Attributes:
        indices: which of the files were read, n of them.
        sizes: their (width, height) in pixels.
        probabilities: (n, C) float32.
        errors: (index, error) of files that could not be read.
    """

    indices: list[int]
    sizes: list[tuple[int, int]]
    probabilities: np.ndarray
    errors: list[tuple[int, ImageError]]


class Classifier:
    """A network that runs, the card that describes it, and the way from a picture to its class.

    Attributes:
        card: the model's card.
        session: what runs its graph.
    """

    def __init__(self, session: "Session", card: Card) -> None:
        """Take a session of a `ClassificationGraph` and its card; `Classifier.load` finds both by name."""
        self.session = session
        self.card = card

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
        """Load a shipped model by name, or one's own by its folder or file.

        Args:
            name_or_path: what `weights.store.resolve` takes.
            runtime, device, precision, mode: where and how it runs, see `pelee.runtime.selection.open_session`.
            input_size: side of the network's input in pixels where it is not to be the card's; it then runs in
                torch, since an export has the size that it was made with.

        Raises:
            WeightsError: there is no such model, it is damaged, or it is none for classification.
            SettingsError: a runtime, device or precision that is not there, a size that the network does not take.
        """
        from weights.store import resolve

        model = resolve(name_or_path)
        if model.card.task != "classification":
            raise WeightsError(
                f"{name_or_path}: a model for {model.card.task}, expected one for classification; see pelee-models"
            )

        if input_size is not None:
            if runtime not in ("auto", "torch") or model.export is not None:
                raise SettingsError(f"input size {input_size}: only a model's own weights in torch take another size")
            runtime = "torch"
            model = replace(model, card=replace(model.card, input_size=input_size))
        try:
            session = load_session(model, runtime=runtime, device=device, precision=precision, mode=mode)
        except RuntimeError:  # poolings that have nothing left, a linear layer for one size alone
            if input_size is None:
                raise
            raise SettingsError(f"{model.card.name} takes no pictures of {input_size} px; take larger") from None
        return cls(session, model.card)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the class ids, 0-based."""
        return tuple(self.card.class_names)

    @property
    def input_size(self) -> int:
        """Side of the network's square input, pixels."""
        return self.session.input_size

    @property
    def runtime(self) -> str:
        """What it runs on, in words."""
        return self.session.name

    @overload  # a str is a sequence of str to the checker, too
    def __call__(self, source: ImageInput) -> Classification: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, source: Sequence[ImageInput]) -> list[Classification]: ...

    def __call__(self, source: ImageInput | Sequence[ImageInput]) -> Classification | list[Classification]:
        """Say what a picture shows, or each of a list of them.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, or a list of either.

        Returns:
            A `Classification`; `.top(5)` are its best five classes. A list for a list.

        Raises:
            ImageError: a picture that cannot be read, an array of another kind.
        """
        single = isinstance(source, (str, Path, np.ndarray))
        pictures: Sequence[ImageInput] = [source] if single else source  # type: ignore[assignment,list-item]
        results: list[Classification] = []
        for start in range(0, len(pictures), BATCH):
            squares = [self._prepare(picture)[0] for picture in pictures[start : start + BATCH]]
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
        """Classify many files: they are read ahead in threads, and the network works meanwhile.

        Args:
            files: in any number; at most two batches and what is in flight wait in memory, at the network's size.
            batch: pictures at a time.
            workers: threads that read.
            read: gives file number i as (H, W, 3) uint8 RGB, or raises ImageError; None reads it as it is.

        Yields:
            Parts in the order of the files, each file in one of them, readable or not.

        Raises:
            SettingsError: a batch of no pictures, no workers.
            WeightsError: the network gives NaN.
        """
        if min(batch, workers) < 1:
            raise SettingsError(f"a batch of {batch} pictures read by {workers} workers; expected at least 1 of each")
        pending: deque[tuple[ClassifiedFiles, Future[tuple[np.ndarray, ...]] | None]] = deque()
        nothing = np.zeros((0, len(self.card.class_names)), np.float32)
        part, squares = ClassifiedFiles([], [], nothing, []), []
        prepared = prefetch(
            range(len(files)),
            lambda index: self._prepare(read(index) if read else files[index]),
            workers=workers,
            ahead=2 * batch,
        )
        for index, found in prepared:
            if isinstance(found, ImageError):
                part.errors.append((index, found))
            else:
                square, width, height = found
                part.indices.append(index)
                part.sizes.append((width, height))
                squares.append(square)
            if len(squares) == batch or index == len(files) - 1:
                pending.append((part, self.session.submit(np.stack(squares)) if squares else None))
                part, squares = ClassifiedFiles([], [], nothing, []), []
            if len(pending) > self.session.parallel:
                yield self._finished(*pending.popleft())
        while pending:
            yield self._finished(*pending.popleft())

    def results(self, probabilities: np.ndarray) -> list[Classification]:
        """Probabilities (N, C) as a `Classification` for each picture."""
        return [Classification(row, self.class_names) for row in probabilities]

    def _prepare(self, picture: ImageInput) -> tuple[np.ndarray, int, int]:
        """A picture as the network takes it, (S, S, 3) uint8 RGB, and its own width and height in pixels."""
        image = read_image(picture) if isinstance(picture, (str, Path)) else picture
        check_image(image)
        height, width = image.shape[:2]
        return preprocess(np.ascontiguousarray(image), self.input_size), width, height

    def _finished(self, part: ClassifiedFiles, future: Future[tuple[np.ndarray, ...]] | None) -> ClassifiedFiles:
        return part if future is None else part._replace(probabilities=self._checked(future.result()))

    def _checked(self, outputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """The graph's one output; `WeightsError` on NaN, with which every comparison would quietly be false."""
        (probabilities,) = outputs
        if not np.isfinite(probabilities).all():
            raise WeightsError(f"{self.card.name} gives NaN on {self.runtime}; try another precision or runtime")
        return probabilities


def load_session(model: "ModelFile", **options: str) -> "Session":
    """The session for a classifier on this machine; see `pelee.runtime.selection.open_session` for the options and errors.

    It has classified one empty picture: a graph that does not belong to its card is a `WeightsError` here.
    """
    from pelee.runtime.selection import open_session

    def build() -> "nn.Module":
        from pelee.classification.inference_model import ClassificationGraph
        from pelee.classification.loading import load_network

        return ClassificationGraph(load_network(model))

    session = open_session(model, build, **options)  # type: ignore[arg-type]
    card = model.card
    shapes = [output.shape for output in session(np.zeros((1, card.input_size, card.input_size, 3), np.uint8))]
    if shapes != [(1, len(card.class_names))]:
        raise WeightsError(
            f"{model.path}: gives {' and '.join(map(str, shapes))}, its card names {len(card.class_names)} classes: "
            "the file and the card do not belong together; get or export the model again"
        )
    return session
