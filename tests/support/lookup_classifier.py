"""A classifier whose answers are known: it looks them up by the grey of a picture of one colour."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

import pelee.runtime.selection
from data.images.image_io import write_image
from weights.card import Card
from weights.store import save_model

SIZE = 8


class LookedUp:
    """A `pelee.runtime.session.Session`: a picture of grey g has the probabilities `rows[g]`."""

    name = "a table"
    input_size = SIZE
    parallel = 1
    batch = 1

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows.astype(np.float32)
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        assert images.dtype == np.uint8 and images.shape[1:] == (SIZE, SIZE, 3)
        self.batches.append(len(images))
        return (self.rows[images[:, 0, 0, 0]],)

    def submit(self, images: np.ndarray) -> "Future[tuple[np.ndarray, ...]]":
        future: Future[tuple[np.ndarray, ...]] = Future()
        future.set_result(self(images))
        return future


def card(class_names: list[str], task: str = "classification") -> Card:
    return Card(name="toy", task=task, architecture="peleenet", class_names=class_names, input_size=SIZE)


def save_toy(folder: Path, class_names: list[str], task: str = "classification") -> Path:
    """A model folder whose weights mean nothing."""
    return save_model(folder, {"weight": np.zeros((2, 2), np.float32)}, card(class_names, task)).path.parent


def use(monkeypatch: pytest.MonkeyPatch, rows: np.ndarray) -> LookedUp:
    """Let every model be opened as this table; returns the session."""
    session = LookedUp(rows)
    monkeypatch.setattr(pelee.runtime.selection, "open_session", lambda *args, **keywords: session)
    return session


def grey(path: Path, value: int, width: int = 10, height: int = 6) -> Path:
    write_image(path, np.full((height, width, 3), value, np.uint8))
    return path
