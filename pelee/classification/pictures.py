"""Pictures in a folder a class: three layouts, decoded once and held in memory where they fit."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.errors import DatasetError, ImageError
from data.images import PICTURE_SUFFIXES, read_image
from data.preprocess import preprocess

MEMORY_SHARE = 0.4  # of what is free, that held pictures may take


class Layout(NamedTuple):
    """A data set's folders, and the sizes in pixels that suit its pictures."""

    train_split: str
    val_split: str
    picture_size: int
    input_size: int


LAYOUTS = {
    "tiny-imagenet": Layout("train", "val", 64, 64),
    "cifar10": Layout("train", "test", 32, 32),
    "imagefolder": Layout("train", "val", 256, 224),
}


@dataclass(frozen=True, slots=True)
class Pictures:
    """A split of a classification set: `labels[i]`, 0-based, is the class of `files[i]`."""

    name: str
    split: str
    class_names: tuple[str, ...]
    files: list[Path]
    labels: np.ndarray  # (N,) int64

    def __len__(self) -> int:
        return len(self.files)


def open_pictures(kind: str, root: Path, split: str) -> Pictures:
    """Find a split's pictures: `root/SPLIT/CLASS/**`, classes in the order of their folders' names.

    Tiny ImageNet's folders are WordNet ids; where `root/words.txt` names them (`n01443537<TAB>goldfish, ...`), the
    class takes the first of these words, with its id where two have the same.

    Raises:
        DatasetError: a split that is missing, a split without class folders, a class without a picture.
    """
    if kind not in LAYOUTS:
        raise DatasetError(f"unknown layout {kind!r}; expected one of {', '.join(LAYOUTS)}")
    folder = root / split
    if not folder.is_dir():
        found = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else None
        has = "does not exist" if found is None else f"has {', '.join(found[:5]) or 'no folders'}"
        raise DatasetError(f"no split {split!r}: {root} {has}; expected {folder}/CLASS/PICTURE")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise DatasetError(f"{folder} has no folder of pictures a class; expected {folder}/CLASS/PICTURE")
    files: list[Path] = []
    labels: list[int] = []
    for label, path in enumerate(classes):
        found_here = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
        if not found_here:
            raise DatasetError(f"class folder {path} has no picture in it; fill it or remove it")
        files += found_here
        labels += [label] * len(found_here)
    names = [path.name for path in classes]
    if kind == "tiny-imagenet" and (words := root / "words.txt").is_file():
        names = _in_words(names, words)
    return Pictures(root.resolve().name, split, tuple(names), files, np.array(labels, np.int64))


def _in_words(ids: Sequence[str], file: Path) -> list[str]:
    known = dict(line.split("\t", 1) for line in file.read_text(encoding="utf-8").splitlines() if "\t" in line)
    words = [known.get(key, key).split(",")[0].strip() for key in ids]
    often = Counter(words)
    return [word if often[word] == 1 else f"{word} ({key})" for word, key in zip(words, ids, strict=True)]


class Batch(NamedTuple):
    """images (N, 3, S, S) uint8, channels-last in memory; labels (N,) int64; places (N,) int64 in the split's list;
    step: of the run, which random numbers go by; unreadable: what was left out, as one-line errors."""

    images: Tensor
    labels: Tensor
    places: Tensor
    step: int
    unreadable: list[str]


class PictureBatches(Dataset[Batch]):
    """Batches of pictures, each warped to size×size; all of them held as uint8 (N × size² × 3 bytes) where they fit.

    A picture that cannot be read is left out of its batch, and named.

    Args:
        cached: None decides by the memory that is free.
    """

    def __init__(self, pictures: Pictures, size: int, cached: bool | None = None) -> None:
        self.pictures = pictures
        self.size = size
        self.labels = torch.from_numpy(pictures.labels)
        self.errors: dict[int, str] = {}
        self.held: Tensor | None = None
        if cached is None:
            cached = len(pictures) * size * size * 3 < MEMORY_SHARE * free_memory()
        if cached:
            held = np.zeros((len(pictures), size, size, 3), np.uint8)
            with ThreadPoolExecutor() as pool:
                for place, found in enumerate(pool.map(self._read, pictures.files)):
                    if isinstance(found, str):
                        self.errors[place] = found
                    else:
                        held[place] = found
            self.held = torch.from_numpy(held).permute(0, 3, 1, 2)
        if len(self.errors) == len(pictures):
            raise DatasetError(f"not one picture of {pictures.name} {pictures.split} can be read: {self.errors[0]}")

    def _read(self, file: Path) -> np.ndarray | str:
        try:
            return preprocess(read_image(file), self.size)
        except (ImageError, OSError) as error:
            return str(error)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Batch:
        """The batch of step number `key[0]`, of the pictures at the places `key[1]`."""
        step, places = key
        if self.held is not None:
            good = [place for place in places if place not in self.errors]
            index = torch.tensor(good, dtype=torch.int64)
            errors = [self.errors[place] for place in places if place in self.errors]
            return Batch(self.held[index], self.labels[index], index, step, errors)
        images, good, errors = [], [], []
        for place in places:
            found = self._read(self.pictures.files[place])
            if isinstance(found, str):
                errors.append(found)
            else:
                good.append(place)
                images.append(found)
        stacked = np.stack(images) if images else np.zeros((0, self.size, self.size, 3), np.uint8)
        index = torch.tensor(good, dtype=torch.int64)
        return Batch(torch.from_numpy(stacked).permute(0, 3, 1, 2), self.labels[index], index, step, errors)


class TrainOrder:
    """The batches that are left of the current epoch: (step, places) pairs, a function of the seed and the steps done.

    Args:
        steps_done: gives the number of steps that the run has behind it, at the start of an iteration; they are passed
            over, so that a resumed run sees what it had yet to see.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        steps_done: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.steps_done = steps_done
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        epoch, skip = divmod(self.steps_done(), len(self))
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        for number in range(skip, len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield epoch * len(self) + number, batch[self.rank :: self.world_size].tolist()


def in_order(count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> list[tuple[int, list[int]]]:
    """All places in order, in batches: what an evaluation goes through."""
    share = range(rank, count, world_size)
    return [(0, list(share[start : start + batch_size])) for start in range(0, len(share), batch_size)]


def free_memory() -> int:
    """Bytes that the machine could give; where it does not say, 4 GiB."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30
