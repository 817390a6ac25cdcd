"""LabelWriter: base of the writers of annotation formats. A dataset holds copies of its images, unchanged."""

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np

from data.atomic_files import atomic_path
from data.datasets.records import Record
from data.errors import SettingsError
from data.images.image_io import IMAGE_SUFFIXES, read_size
from data.images.image_slice import ImageFile, ImageSlice

_STEM_BYTES = 200  # a file name has up to 255 bytes; a number, a suffix and an encoding's growth need some
#: Characters that break a list, a path or an XML file; lone surrogates are bytes that are no UTF-8.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\\/:*?"<>|\ud800-\udfff\ufffe\uffff]')


class LabelWriter(ABC):
    """Writer of one dataset. As a context manager it writes the dataset's own files at the end, also after an error.

    Names of images are flat: the file's name, with a number where an earlier one has it. All boxes are those of the
    upright image (EXIF orientation applied), as today's annotation tools show it.

    Attributes:
        folder: the dataset's folder.
        class_names: class names by label.
        images: number of images so far.
        linked: number of them that are hard links to the originals.
    """

    keeps_difficult: ClassVar[bool] = False
    keeps_crowd: ClassVar[bool] = False

    def __init__(self, folder: Path, class_names: Sequence[str], link: bool = False) -> None:
        """Take the folder, which `prepare_label_folder` has checked, and the class names.

        With `link`, images are hard links where the file system has them: every reader sees a file, and it needs no
        space. Otherwise, and for images in an archive, they are copies.
        """
        self.folder = folder
        self.linked = 0
        self._link = link
        self.class_names = tuple(class_names)
        self.images = 0
        self._taken: dict[str, int] = {}  # the last number of each stem, case folded
        self._difficult = self._crowd = 0

    def add(self, split: str, record: Record, scores: np.ndarray | None = None) -> None:
        """Copy or link an image and write its annotations.

        Args:
            split: name of its split.
            record: the image with its boxes.
            scores: (n,) scores of a detector, written where the format has a place for them; None for annotations.

        Raises:
            ImageError: the image cannot be read.
            OSError: it cannot be copied, or a file not be written.
        """
        image = record.image
        size = record.size or read_size(image)
        if not self.keeps_crowd and record.crowd.any():
            self._crowd += int(record.crowd.sum())
            record, scores = _without_crowd(record, scores)
        if not self.keeps_difficult:
            self._difficult += int(record.difficult.sum())
        limits = np.array([*size, *size], dtype=np.float64)
        boxes = np.clip(record.boxes.astype(np.float64), 0, limits)
        name = self._unique_name(record)
        target = self.folder / self._image_place(split) / name
        if self._link and _link(image, target):
            self.linked += 1
        else:
            _copy(image, target)
        self._write(split, name, replace(record, boxes=boxes, size=size), scores)
        self.images += 1

    def notes(self) -> list[str]:
        """Return a line for each kind of flag that the format has no place for."""
        lines = []
        if self._crowd:
            lines.append(f"{self._crowd:,} crowd boxes are left out: the format has no flag for them")
        if self._difficult:
            lines.append(f"{self._difficult:,} difficult objects are plain ones: the format has no flag for them")
        return lines

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the dataset's own files, if it has an image."""
        if not self.images:
            return
        for place, text in self._final_texts().items():
            self._write_text(place, text)

    @abstractmethod
    def _image_place(self, split: str) -> str:
        """Return the folder of a split's images below the dataset's."""

    @abstractmethod
    def _write(self, split: str, name: str, record: Record, scores: np.ndarray | None) -> None:
        """Write or keep an image's annotations; its record has a size, and its boxes are within the image."""

    def _final_texts(self) -> dict[str, str]:
        """Return the texts of the files of the whole dataset, by their places in the folder."""
        return {}

    def _write_text(self, place: str, text: str) -> None:
        """Write a text file of the dataset."""
        with atomic_path(self.folder / place) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")

    def _unique_name(self, record: Record) -> str:
        """Return the name of the image's copy; stems are unique without regard to case, as labels are named by them."""
        image = record.image
        original = Path(record.image_id) if isinstance(image, ImageSlice) else image
        stem = _UNSAFE.sub("_", original.stem).strip().lstrip(".") or "image"
        while len(stem.encode()) > _STEM_BYTES:
            stem = stem[:-1]
        number = self._taken.get(stem.casefold(), 0) + 1
        unique = stem if number == 1 else f"{stem}-{number}"
        while number > 1 and unique.casefold() in self._taken:
            number += 1
            unique = f"{stem}-{number}"
        self._taken[stem.casefold()] = number
        self._taken.setdefault(unique.casefold(), 1)
        return unique + _suffix(image)


def prepare_label_folder(folder: Path) -> None:
    """Make the folder of a new dataset.

    Raises:
        SettingsError: it holds files already, which somebody may have corrected, or it is a file.
        OSError: it cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file; name a new folder for the labels")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty, its labels may be corrected ones; name a new folder")
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "the folder of the labels cannot be written to", str(folder))


def box_rows(record: Record) -> list[list[float]]:
    """Return the boxes as lists of xyxy in pixels, rounded to 0.01."""
    return [[round(value, 2) + 0.0 for value in box] for box in record.boxes.tolist()]


def _without_crowd(record: Record, scores: np.ndarray | None) -> tuple[Record, np.ndarray | None]:
    kept = ~record.crowd
    names = ("boxes", "labels", "difficult", "crowd", "areas")
    fields = {name: getattr(record, name)[kept] for name in names}
    return replace(record, **fields), None if scores is None else scores[kept]


def _suffix(image: ImageFile) -> str:
    """Return the suffix of an image's name, or that of its content where the name has none of an image."""
    suffix = Path(image.name).suffix
    if suffix.lower() in IMAGE_SUFFIXES:
        return suffix
    from PIL import Image

    if isinstance(image, ImageSlice):
        return ".jpg"
    with Image.open(image) as opened:
        return f".{(opened.format or 'jpg').lower()}"


def _link(image: ImageFile, target: Path) -> bool:
    """Make a hard link to an image; returns whether the file system can."""
    if isinstance(image, ImageSlice):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(image.resolve())
    except OSError:  # another file system, one without links, or too many of them
        return False
    return True


def _copy(image: ImageFile, target: Path) -> None:
    with atomic_path(target) as temporary:
        if isinstance(image, ImageSlice):
            temporary.write_bytes(image.read_bytes())
        else:
            shutil.copyfile(image, temporary)
