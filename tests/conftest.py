"""Small data sets that tests train and measure on: coloured shapes on a noisy ground."""

import contextlib
import ctypes
import gc
import io
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import hypothesis
import numpy as np
import pytest

from data.datasets.records import Dataset
from data.datasets.registry import open_dataset
from data.images.image_io import write_image

hypothesis.settings.register_profile("any-machine", deadline=None)  # a busy one is slow, not wrong
hypothesis.settings.load_profile("any-machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without the garbage collector: looking through all that is imported takes a sixth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()  # all that is imported stays


SHAPES = ("disc", "ring", "square")  # the classes, in the order of their labels
COLOURS = ((220, 40, 40), (40, 200, 60), (60, 80, 230))


class Shape(NamedTuple):
    """One drawn object: its label, and the first and last pixels that it covers, 0-based."""

    label: int
    x0: int
    y0: int
    x1: int
    y1: int


def draw(rng: np.random.Generator, shapes: list[Shape], width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: dark noise and the shapes on it."""
    image = rng.integers(20, 60, (height, width, 3), dtype=np.uint8)
    for label, x0, y0, x1, y1 in shapes:
        side = x1 - x0 + 1
        if label == 2:
            image[y0 : y1 + 1, x0 : x1 + 1] = COLOURS[label]
        else:
            centre = ((x0 + x1) // 2, (y0 + y1) // 2)
            cv2.circle(image, centre, (side - 1) // 2 - label * 2, COLOURS[label], -1 if label == 0 else 5)
    return image


def random_shapes(rng: np.random.Generator, number: int, width: int, height: int) -> list[Shape]:
    """One shape in the left half and, in every second picture, one in the right; the classes take turns."""
    shapes = []
    for place in range(1 + number % 2):
        side = int(rng.integers(25, 42)) | 1  # odd, so that a disc's box is exact
        x0 = place * width // 2 + int(rng.integers(0, width // 2 - side))
        y0 = int(rng.integers(0, height - side))
        shapes.append(Shape((number + place) % len(SHAPES), x0, y0, x0 + side - 1, y0 + side - 1))
    return shapes


def annotation(name: str, shapes: list[Shape], width: int, height: int) -> str:
    """A VOC annotation: pixels from 1 on, the last one included."""
    objects = "".join(
        f"<object><name>{SHAPES[s.label]}</name><difficult>0</difficult><bndbox><xmin>{s.x0 + 1}</xmin>"
        f"<ymin>{s.y0 + 1}</ymin><xmax>{s.x1 + 1}</xmax><ymax>{s.y1 + 1}</ymax></bndbox></object>"
        for s in shapes
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


def make_voc(root: Path) -> Path:
    """A devkit of 12 pictures of 120 x 90 px: 8 in `trainval`, the last of them empty, and 4 in `val`."""
    rng = np.random.default_rng(7)
    folder = root / "VOC2007"
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    ids = [f"{number:06d}" for number in range(12)]
    for number, image_id in enumerate(ids):
        shapes = [] if number == 7 else random_shapes(rng, number, 120, 90)
        write_image(folder / "JPEGImages" / f"{image_id}.jpg", draw(rng, shapes, 120, 90))
        (folder / "Annotations" / f"{image_id}.xml").write_text(annotation(f"{image_id}.jpg", shapes, 120, 90))
    for split, chosen in (("trainval", ids[:8]), ("val", ids[8:])):
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(chosen) + "\n")
    (root / "labels.txt").write_text("\n".join(SHAPES) + "\n")
    return root


def make_yolo(root: Path) -> Path:
    """The same kind of pictures as a YOLO set: 6 in `train`, 3 in `val`, with two classes only (no square)."""
    rng = np.random.default_rng(8)
    for split, count in (("train", 6), ("val", 3)):
        labels = root / "labels" / split
        labels.mkdir(parents=True)
        for number in range(count):
            shapes = [s._replace(label=s.label % 2) for s in random_shapes(rng, number, 120, 90)]
            write_image(root / "images" / split / f"{number}.png", draw(rng, shapes, 120, 90))
            lines = [
                f"{s.label} {(s.x0 + s.x1 + 1) / 240:.6f} {(s.y0 + s.y1 + 1) / 180:.6f} "
                f"{(s.x1 - s.x0 + 1) / 120:.6f} {(s.y1 - s.y0 + 1) / 90:.6f}\n"
                for s in shapes
            ]
            (labels / f"{number}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [disc, ring]\n")
    return root


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled and installed models are those of the session, in processes of tests, too, and not the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["PELEE_MODEL_FOLDER"] = str(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def same_cores() -> Iterator[None]:
    """Fail a test that leaves the process on other cores: later tests would run, and encode films, on those."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    yield
    assert os.sched_getaffinity(0) == before


@pytest.fixture(autouse=True)
def same_signal_stack() -> Iterator[None]:
    """Fail a test that leaves another stack for signals: once that is freed, a signal crashes any later test."""
    if not hasattr(signal, "SIGUSR1"):
        yield
        return
    before = signal_stack()
    yield
    assert signal_stack() == before


def signal_stack() -> bytes:
    """Return this thread's `stack_t`."""
    state = ctypes.create_string_buffer(24)
    assert ctypes.CDLL(None).sigaltstack(None, state) == 0
    return state.raw


@pytest.fixture(scope="session")
def voc_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny VOC devkit, to be read only; `own_voc_root` is a test's own."""
    return make_voc(tmp_path_factory.mktemp("voc") / "VOCdevkit")


@pytest.fixture(scope="session")
def yolo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny YOLO data set, to be read only."""
    return make_yolo(tmp_path_factory.mktemp("yolo") / "shapes")


@pytest.fixture
def train_set(voc_root: Path) -> Dataset:
    return open_dataset("voc", voc_root, "trainval")


@pytest.fixture
def val_set(voc_root: Path) -> Dataset:
    return open_dataset("voc", voc_root, "val")


@pytest.fixture
def own_voc_root(tmp_path: Path) -> Path:
    """A tiny VOC devkit that the test may damage."""
    return make_voc(tmp_path / "VOCdevkit")


@pytest.fixture
def quiet_lightning() -> Iterator[None]:
    """Lightning without its advice, and ctrl-C as it was: Lightning ignores it once it has seen one."""
    logger = logging.getLogger("pytorch_lightning")
    level, handler = logger.level, signal.getsignal(signal.SIGINT)
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)
    signal.signal(signal.SIGINT, handler)


class TrainedRun(NamedTuple):
    """What a run of pelee-train left: its output folder and what it said on stdout."""

    output: Path
    stdout: str


@pytest.fixture(scope="session")
def trained_run(voc_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """Ten steps of pelee-train on the tiny devkit at 64 px, which teach it nothing; to be read only."""
    from detection.commands.train import main

    output = tmp_path_factory.mktemp("trained") / "shapes"
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(io.StringIO()):
        code = main(
            [
                *("--dataset", "voc", "--root", str(voc_root), "--val-split", "val", "--output", str(output)),
                *("--recipe", "quick", "--batch-size", "4", "--input-size", "64", "--epochs", "6", "--max-steps=10"),
                *("--size-phases=[]", "--precision", "fp32", "--validate-every", "2", "--accelerator", "cpu"),
                "--no-export",
            ]
        )
    assert code == 0
    return TrainedRun(output, stdout.getvalue())
