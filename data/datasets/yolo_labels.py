"""YOLO label files: where an image's is, and its lines.

The labels of `.../images/a.jpg` are in `.../labels/a.txt`, or in `a.txt` next to the image; names are compared without
regard to case. A line is `class cx cy w h` relative to the image; `class x1 y1 x2 y2 x3 y3 ...`, a polygon, which
becomes the box around it; or `class cx cy w h` with keypoints, which are ignored.
"""

import math
from pathlib import Path

from data.errors import DatasetError
from data.files.file_finder import file_names
from data.files.text_files import read_text

#: Text files of annotation tools and licenses that are no label files.
_OTHER_FILES = frozenset({"classes.txt", "obj.names", "notes.txt", "readme.txt", "labels.txt", "train.txt", "val.txt"})


class LabelFiles:
    """Finds the label files of a split's images, and counts images without one and files without an image."""

    def __init__(self) -> None:
        self._listings: dict[Path, dict[str, str]] = {}
        self._folders: dict[Path, list[Path]] = {}
        self._used: dict[Path, set[str]] = {}
        self._without: list[Path] = []

    def find(self, image: Path) -> Path | None:
        """Return the label file of an image, or None."""
        name = f"{image.stem}.txt".lower()
        for folder in self._places(image.parent):
            found = self._listing(folder).get(name)
            if found is not None:
                if folder != image.parent:
                    self._used.setdefault(folder, set()).add(name)
                return folder / found
        self._without.append(image)
        return None

    def warnings(self, images: int) -> list[str]:
        """Return the warnings about missing label files, and about those in `labels` folders without an image.

        Args:
            images: number of the split's images.
        """
        lines = []
        if self._without:
            first = self._without[0]
            looked = f"{self._places(first.parent)[0] / first.stem}.txt"
            lines.append(
                f"no label file, taken for images without objects (an empty label file says so): "
                f"{len(self._without)} of {images} images, the first is {first}; looked for {looked}"
            )
        for folder, used in self._used.items():
            unused = sorted(set(self._listing(folder)) - used - _OTHER_FILES)
            unused = [name for name in unused if name.endswith(".txt")]
            # Where a list names some images of a folder, the label files of the others are no fault.
            if unused and not self._has_images(folder, unused):
                found = self._listing(folder)[unused[0]]
                lines.append(f"label files without an image: {len(unused)} in {folder}, the first is {found}")
        return lines

    def _has_images(self, folder: Path, unused: list[str]) -> bool:
        images = {Path(name).stem.lower() for image in self._images_of(folder) for name in self._listing(image)}
        return any(Path(name).stem in images for name in unused)

    def _images_of(self, folder: Path) -> list[Path]:
        return [image for image, places in self._folders.items() if places[0] == folder]

    def _listing(self, folder: Path) -> dict[str, str]:
        if folder not in self._listings:
            self._listings[folder] = {name.lower(): name for name in file_names(folder)}
        return self._listings[folder]

    def _places(self, folder: Path) -> list[Path]:
        """Return the folders that labels of a folder's images may be in: the `labels` one, its own."""
        if folder not in self._folders:
            parts = list(folder.parts)
            for i in range(len(parts) - 1, -1, -1):  # the last folder of that name
                if parts[i].lower() == "images":
                    parent = Path(*parts[:i])
                    parts[i] = self._listing(parent).get("labels", "labels")
                    break
            self._folders[folder] = list(dict.fromkeys([Path(*parts), folder]))
        return self._folders[folder]


class LabelParser:
    """Parser of label files.

    Args:
        classes: number of classes.
        keypoint_values: number of keypoint values after each box, 0 for none; None where it is not known: a line is a
            polygon then, unless its values are keypoints (x, y, visibility 0, 1 or 2) within its box.
    """

    def __init__(self, classes: int, keypoint_values: int | None = None) -> None:
        self._classes = classes
        self._keypoint_values = keypoint_values

    def read(self, file: Path, warnings: list[str]) -> tuple[list[int], list[list[float]]]:
        """Read a label file -> labels and relative xyxy boxes; a faulty line is dropped with a warning."""
        labels: list[int] = []
        boxes: list[list[float]] = []
        try:
            lines = read_text(file).splitlines()
        except OSError as error:
            warnings.append(f"label file cannot be read: {file}: {error.strerror or error}")
            return labels, boxes
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                label, box = self.parse(line)
            except DatasetError as error:
                warnings.append(f"label line dropped: {file}, line {number}: {error}")
                continue
            labels.append(label)
            boxes.append(box)
        return labels, boxes

    def parse(self, line: str) -> tuple[int, list[float]]:
        """Parse a line -> label, relative xyxy box; DatasetError for a faulty line."""
        try:
            first, *numbers = (float(value) for value in line.split())
        except ValueError:
            raise DatasetError(f"{line.strip()[:60]!r} is not a line of numbers") from None
        if not (first.is_integer() and 0 <= first < self._classes):
            raise DatasetError(f"class {first:g}, but the yaml has {self._classes} names, 0 to {self._classes - 1}")
        values = self._box_or_polygon(numbers)
        if not all(math.isfinite(value) and -1 <= value <= 2 for value in values):
            raise DatasetError(f"{line.strip()[:60]!r}; expected numbers relative to the image, 0 to 1")
        if len(values) == 4:
            cx, cy, w, h = values
            return int(first), [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        xs, ys = values[0::2], values[1::2]
        return int(first), [min(xs), min(ys), max(xs), max(ys)]

    def _box_or_polygon(self, numbers: list[float]) -> list[float]:
        count = len(numbers)
        if count == 4 or (self._keypoint_values and count == 4 + self._keypoint_values):
            return numbers[:4]
        if self._keypoint_values is None and _has_keypoints(numbers):
            return numbers[:4]
        if self._keypoint_values:
            expected = f"class cx cy w h and {self._keypoint_values} values of keypoints"
        else:
            expected = "class cx cy w h, or class and a polygon"
            if count >= 6 and count % 2 == 0:
                return numbers
        raise DatasetError(f"{count + 1} numbers; expected {expected}")


def _has_keypoints(numbers: list[float]) -> bool:
    """Whether numbers are a box and keypoints (x, y, visibility) of which all visible ones are within it."""
    if len(numbers) < 7 or (len(numbers) - 4) % 3:
        return False
    cx, cy, w, h = numbers[:4]
    points = [numbers[start : start + 3] for start in range(4, len(numbers), 3)]
    inside = all(abs(x - cx) <= 0.6 * w and abs(y - cy) <= 0.6 * h for x, y, visible in points if visible)
    return inside and all(visible in (0, 1, 2) for _, _, visible in points)
