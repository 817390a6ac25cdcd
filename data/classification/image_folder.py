"""Classification datasets: one folder per class, or Stanford Cars as it is published."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.classification.layouts import LAYOUTS
from data.classification.object_crop import WHOLE_IMAGE, ObjectCrop
from data.classification.stanford_cars import read_cars
from data.errors import DatasetError, SettingsError
from data.files.text_files import read_text
from data.images.folder_walk import walk_files
from data.images.image_io import IMAGE_SUFFIXES, read_image


@dataclass(frozen=True, slots=True)
class ImageFolderDataset:
    """A split of a classification dataset: `labels[i]`, 0-based, is the class of `files[i]`.

    Attributes:
        name: name of the dataset.
        split: name of the split.
        class_names: names of the classes, by label.
        files: paths of the images.
        labels: (N,) int64.
        boxes: (N, 4) float32 box of each image's object, xyxy in continuous pixels; None where the dataset has none.
        crop: applied by `read` to images with a box.
        unreadable: a line for each image that is left out because it cannot be read.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    files: list[Path]
    labels: np.ndarray
    boxes: np.ndarray | None = None
    crop: ObjectCrop = WHOLE_IMAGE
    unreadable: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> np.ndarray:
        """Read image `index` as (H, W, 3) uint8 RGB; ImageError where it cannot be read."""
        image = read_image(self.files[index])
        return image if self.boxes is None else self.crop(image, self.boxes[index], str(self.files[index]))


def open_image_folder(layout: str, root: Path, split: str, crop: ObjectCrop | None = None) -> ImageFolderDataset:
    """Find a split's images: `root/SPLIT/CLASS/**`, classes in the order of their folders' names.

    Tiny ImageNet's folders are WordNet ids; where `root/words.txt` has words for them (`n01443537<TAB>goldfish, ...`),
    the class name is the first word, followed by the id where two classes have the same word. For Stanford Cars see
    `data.classification.stanford_cars.read_cars`.

    Hidden files and folders are skipped. A split other than the training split may have an empty class folder.

    Args:
        layout: a key of `LAYOUTS`.
        root: the dataset's folder.
        split: name of the split.
        crop: applied to images with a box; None for whole images.

    Raises:
        DatasetError: an unknown layout, a missing split, a split without class folders or without an image, a class
            of the training split without an image.
        SettingsError: a crop that needs boxes, for a dataset without boxes.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"unknown layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
    crop = crop or WHOLE_IMAGE
    if layout == "cars":
        names, files, labels, boxes = read_cars(root, split)
        return ImageFolderDataset(root.resolve().name, split, names, files, labels, boxes, crop)
    if crop.needs_box:
        setting = "crop_to_box" if crop.crop_to_box else "erase_background"
        raise SettingsError(f"{setting} needs boxes, and {layout} has none; it is for cars, or leave it out")
    folder = root / split
    if not folder.is_dir():
        found = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else None
        has = "does not exist" if found is None else f"has {', '.join(found[:5]) or 'no folders'}"
        raise DatasetError(f"no split {split!r}: {root} {has}; expected {folder}/CLASS/IMAGE")
    # Hidden folders are litter of tools (.ipynb_checkpoints), as are hidden files (._a.jpg).
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DatasetError(f"{folder} has no folder of images a class; expected {folder}/CLASS/IMAGE")
    image_files: list[Path] = []
    numbers: list[int] = []
    unreadable: list[str] = []
    for label, path in enumerate(classes):
        found_here = sorted(walk_files(path, IMAGE_SUFFIXES, lambda error: unreadable.append(str(error))))
        if not found_here and split == LAYOUTS[layout].train_split:
            raise DatasetError(f"class folder {path} has no image in it; fill it or remove it")
        image_files += found_here
        numbers += [label] * len(found_here)
    if not image_files:
        raise DatasetError(f"{folder} has no images; expected {folder}/CLASS/IMAGE")
    words = [path.name for path in classes]
    if layout == "tiny-imagenet" and (file := root / "words.txt").is_file():
        words = _in_words(words, file)
    labels = np.array(numbers, np.int64)
    return ImageFolderDataset(root.resolve().name, split, tuple(words), image_files, labels, unreadable=unreadable)


def _in_words(ids: Sequence[str], file: Path) -> list[str]:
    """Return the word of each WordNet id in `words.txt`, made unique by the id; the id where there is no word."""
    known = dict(line.split("\t", 1) for line in read_text(file).splitlines() if "\t" in line)
    words = [known.get(key, key).split(",")[0].strip() for key in ids]
    often = Counter(words)
    return [word if often[word] == 1 else f"{word} ({key})" for word, key in zip(words, ids, strict=True)]
