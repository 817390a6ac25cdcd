"""Images of one class each, as a classifier learns them: folders a class, or Stanford Cars as it is published."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.classification.layouts import LAYOUTS
from data.classification.object_crop import WHOLE_IMAGE, ObjectCrop
from data.classification.stanford_cars import read_cars
from data.errors import DatasetError, SettingsError
from data.images.image_io import IMAGE_SUFFIXES, read_image


@dataclass(frozen=True, slots=True)
class ImageFolderDataset:
    """A split of a classification set: `labels[i]`, 0-based, is the class of `files[i]`.

    Attributes:
        boxes: of the one object of each image, xyxy in continuous pixels; None where the set has none.
        view: what `read` gives of an image that has a box.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    files: list[Path]
    labels: np.ndarray  # (N,) int64
    boxes: np.ndarray | None = None  # (N, 4) float32
    view: ObjectCrop = WHOLE_IMAGE

    def __len__(self) -> int:
        return len(self.files)

    def read(self, place: int) -> np.ndarray:
        """Image number `place` as (H, W, 3) uint8 RGB; ImageError where it cannot be read."""
        image = read_image(self.files[place])
        return image if self.boxes is None else self.view(image, self.boxes[place], str(self.files[place]))


def open_image_folder(kind: str, root: Path, split: str, view: ObjectCrop | None = None) -> ImageFolderDataset:
    """Find a split's images: `root/SPLIT/CLASS/**`, classes in the order of their folders' names.

    Tiny ImageNet's folders are WordNet ids; where `root/words.txt` names them (`n01443537<TAB>goldfish, ...`), the
    class takes the first of these words, with its id where two have the same. Stanford Cars is read as it is unpacked,
    see `data.classification.stanford_cars.read_cars`.

    Args:
        view: what is looked at, of sets with boxes; None for whole images.

    Raises:
        DatasetError: a split that is missing, a split without class folders, a class without an image.
        SettingsError: a view that needs boxes, of a set that has none.
    """
    if kind not in LAYOUTS:
        raise DatasetError(f"unknown layout {kind!r}; expected one of {', '.join(LAYOUTS)}")
    view = view or WHOLE_IMAGE
    if kind == "cars":
        names, files, labels, boxes = read_cars(root, split)
        return ImageFolderDataset(root.resolve().name, split, names, files, labels, boxes, view)
    if view.needs_box:
        asked = "crop_to_box" if view.crop_to_box else "erase_background"
        raise SettingsError(f"{asked} needs boxes, and {kind} has none; it is for cars, or leave it out")
    folder = root / split
    if not folder.is_dir():
        found = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else None
        has = "does not exist" if found is None else f"has {', '.join(found[:5]) or 'no folders'}"
        raise DatasetError(f"no split {split!r}: {root} {has}; expected {folder}/CLASS/IMAGE")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise DatasetError(f"{folder} has no folder of images a class; expected {folder}/CLASS/IMAGE")
    places: list[Path] = []
    numbers: list[int] = []
    for label, path in enumerate(classes):
        found_here = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        if not found_here:
            raise DatasetError(f"class folder {path} has no image in it; fill it or remove it")
        places += found_here
        numbers += [label] * len(found_here)
    words = [path.name for path in classes]
    if kind == "tiny-imagenet" and (file := root / "words.txt").is_file():
        words = _in_words(words, file)
    return ImageFolderDataset(root.resolve().name, split, tuple(words), places, np.array(numbers, np.int64))


def _in_words(ids: Sequence[str], file: Path) -> list[str]:
    known = dict(line.split("\t", 1) for line in file.read_text(encoding="utf-8").splitlines() if "\t" in line)
    words = [known.get(key, key).split(",")[0].strip() for key in ids]
    often = Counter(words)
    return [word if often[word] == 1 else f"{word} ({key})" for word, key in zip(words, ids, strict=True)]
