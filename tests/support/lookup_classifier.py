"""A classifier with known answers, looked up by the gray level of an image of one color."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

import pelee.runtime.selection
from data.images.image_io import write_image
from weights.card import Card
from weights.store import save_model

SIZE = 8


class LookupSession:
    """A `pelee.runtime.session.Session`: an image of gray level g has the probabilities `rows[g]`."""

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
    """Write a model folder with meaningless weights; returns the folder."""
    return save_model(folder, {"weight": np.zeros((2, 2), np.float32)}, card(class_names, task)).path.parent


def use_session(monkeypatch: pytest.MonkeyPatch, rows: np.ndarray) -> LookupSession:
    """Make every model open as this table; returns the session."""
    session = LookupSession(rows)
    monkeypatch.setattr(pelee.runtime.selection, "open_session", lambda *args, **keywords: session)
    return session


def gray_image(path: Path, value: int, width: int = 10, height: int = 6) -> Path:
    write_image(path, np.full((height, width, 3), value, np.uint8))
    return path
