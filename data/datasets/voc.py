"""Reader of PASCAL VOC: VOCdevkit folders as they are unpacked, and other data in their layout.

VOC2007/Annotations/000001.xml, VOC2007/ImageSets/Main/trainval.txt, VOC2007/JPEGImages/000001.jpg
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from data.datasets.record_builder import build_record, read_size_or_none
from data.datasets.records import Dataset, MissingSplitError, Record
from data.errors import DatasetError, nearest_name
from data.files.file_finder import file_names
from data.files.text_files import read_text
from data.files.xml_files import parse_xml
from data.images.image_io import IMAGE_SUFFIXES

#: The 20 classes in alphabetical order, which is the order of the labels.
CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
#: Split of all annotations, for a folder without lists.
ALL = "all"


def read_voc(root: Path, split: str) -> Dataset:
    """Read a split of a VOC devkit.

    Boxes are 1-based inclusive pixels in the files and `[xmin - 1, ymin - 1, xmax, ymax]` in the records.

    Args:
        root: the VOCdevkit folder, its parent, or one folder with Annotations, ImageSets and JPEGImages in it.
            A `labels.txt` in it (one class name per line), or CVAT's `labelmap.txt`, replaces VOC's 20 names.
        split: comma-separated YEAR-SPLIT ("2007-trainval,2012-trainval"). SPLIT alone means every year that has it;
            "all" means every annotation.
            Of a split of one class ("2007-dog_trainval"), the images without that class (-1) are skipped.

    A damaged annotation, object or class name is dropped with a warning.

    Raises:
        DatasetError: no such root or split, most class names not in the list, no image or annotation that can be used.
    """
    root = Path(root)
    devkit, folders = _year_folders(root)
    names = _class_names(root, devkit, folders)
    warnings: list[str] = []
    reader = _Reader(names, warnings)
    records: list[Record] = []
    seen: set[str] = set()
    for folder, name in _splits(folders, split):
        images, files = file_names(folder / "JPEGImages"), file_names(folder / "Annotations")
        annotations = {name[:-4]: name for name in files if name.lower().endswith(".xml") and name[0] != "."}
        for image_id in _image_ids(folder, name, annotations):
            if image_id in seen:
                warnings.append(f"image listed twice, the first one counts: {folder.name}: {image_id} in {split}")
                continue
            seen.add(image_id)
            file = annotations.get(image_id, f"{image_id}.xml")
            record = reader.read(folder / "Annotations" / file, folder / "JPEGImages", image_id, images)
            if record is not None:
                records.append(record)
    reader.check_classes()
    if seen and len(reader.missing) == len(records):
        raise DatasetError((reader.missing or [line.partition(": ")[2] for line in warnings])[0])
    if not records:
        raise DatasetError(f"{root}: the split {split!r} lists no images; there are {_available(folders)}")
    return Dataset("voc", split, names, records, warnings)


def _is_year(folder: Path) -> bool:
    images_or_lists = (folder / "JPEGImages").is_dir() or (folder / "ImageSets" / "Main").is_dir()
    return images_or_lists and (folder / "Annotations").is_dir()


def _year_folders(root: Path) -> tuple[Path, dict[str, Path]]:
    """Return the folder of the years, and a dict of year ("" where the folder's name has none) to folder."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected a VOCdevkit folder")
    if _is_year(root):
        match = re.fullmatch(r"VOC(\d{4})", root.resolve().name)
        return root, {match[1] if match else "": root}
    for devkit in (root, root / "VOCdevkit"):
        years = {f.name[3:]: f for f in sorted(devkit.glob("VOC[0-9][0-9][0-9][0-9]")) if _is_year(f)}
        if years:
            return devkit, years
    raise DatasetError(
        f"{root}: not a VOC dataset; expected VOC2007 (or another year) in it, or Annotations and JPEGImages"
    )


def _class_names(root: Path, devkit: Path, folders: dict[str, Path]) -> tuple[str, ...]:
    for folder in dict.fromkeys([root, devkit, *folders.values()]):
        for file, names_of in ((folder / "labels.txt", _listed_names), (folder / "labelmap.txt", _cvat_names)):
            if file.is_file():
                names = names_of(read_text(file))
                twice = {name for name in names if names.count(name) > 1}
                if not names or twice:
                    found = f"{min(twice)!r} twice" if twice else "no names"
                    raise DatasetError(f"{file}: {found}; expected one class name a line")
                return tuple(names)
    return CLASS_NAMES


def _listed_names(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _cvat_names(text: str) -> list[str]:
    """Return the names of CVAT's label map: lines `name:color:parts:actions`, a comment, the background."""
    names = [line.split(":")[0].strip() for line in text.splitlines() if not line.startswith("#")]
    return [name for name in names if name and name != "background"]


def _splits(folders: dict[str, Path], split: str) -> list[tuple[Path, str]]:
    """Parse "2007-trainval,2012-trainval" into [(folder, "trainval"), ...]; DatasetError for one that is missing."""
    found: list[tuple[Path, str]] = []
    for part in (part.strip() for part in split.split(",")):
        match = re.fullmatch(r"(\d{4})-(.+)", part)
        if match and match[1] in folders:
            candidates = [(folders[match[1]], match[2])]
        else:
            candidates = [(folder, part) for folder in folders.values()]
        present = [
            (folder, name)
            for folder, name in candidates
            if name == ALL or (name and _split_file(folder, name).is_file())
        ]
        if not present:
            where = ", ".join(str(folder) for folder in folders.values())
            raise MissingSplitError(f"{where}: no split {part!r}; there are {_available(folders)}")
        found += present
    return list(dict.fromkeys(found))


def _split_file(folder: Path, name: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{name}.txt"


def _lists(folder: Path, names: Sequence[str] = CLASS_NAMES) -> list[str]:
    """Return the names of a year's splits, without VOC's per-class ones (dog_train, ...)."""
    files = sorted((folder / "ImageSets" / "Main").glob("*.txt"))
    return [file.stem for file in files if file.stem.rpartition("_")[0] not in names]


def _available(folders: dict[str, Path]) -> str:
    own = [f"{year}-{name}" if year else name for year, folder in folders.items() for name in _lists(folder)]
    return ", ".join(own) or "none (ImageSets/Main holds no .txt file)"


def voc_splits(root: Path) -> list[str]:
    """Return the names of a devkit's splits, training first; trainval stands for train and val, ALL for no lists."""
    devkit, folders = _year_folders(root)
    names = _class_names(root, devkit, folders)
    found: list[str] = []
    for year, folder in folders.items():
        own = _lists(folder, names)
        parts = ("train", "val") if "trainval" in own else ()
        found += [f"{year}-{name}" if year else name for name in own if name not in parts]
    return sorted(found, key=lambda name: "train" not in name) or [ALL]


def _image_ids(folder: Path, name: str, annotations: dict[str, str]) -> list[str]:
    if name == ALL and not _split_file(folder, name).is_file():
        return sorted(annotations)
    ids: list[str] = []
    for line in read_text(_split_file(folder, name)).splitlines():
        line = line.strip()
        if not line:
            continue
        if line not in annotations:
            *first, second = line.rsplit(None, 1)
            # Image ids may contain blanks ("image 1"): a line is two columns only where no annotation has its name.
            if first and second in ("-1", "0", "1"):
                if second == "-1":
                    continue
                line = first[0]
            # Some tools write file names or paths.
            base = re.split(r"[/\\]", line)[-1]
            stem = base.rpartition(".")[0] if Path(base).suffix.lower() in IMAGE_SUFFIXES else base
            line = next((known for known in (line, stem) if known in annotations), line)
        ids.append(line)
    return ids


class _Reader:
    """Reads the annotations of one split, and counts objects by the names of unknown classes.

    Args:
        names: the class names.
        warnings: list that a line is appended to for each fault.
    """

    def __init__(self, names: Sequence[str], warnings: list[str]) -> None:
        self._index = {name: label for label, name in enumerate(names)}
        self._folded = {name.casefold(): name for name in names}
        self._warnings = warnings
        self.unknown = Counter[str]()
        self.missing: list[str] = []
        self.objects = 0

    def read(self, file: Path, folder: Path, image_id: str, images: frozenset[str]) -> Record | None:
        """Read an annotation of one of the images in `folder`; None, with a warning, where it cannot be used."""
        try:
            root = parse_xml(file)
        except DatasetError as error:
            self._warnings.append(f"annotation cannot be used, image left out: {file}: {error}")
            return None
        name = _image(file, root, image_id, images, self._warnings)
        image = folder / (name or f"{image_id}.jpg")
        if name is None:  # kept, for `check_headers` to report
            self.missing.append(f"{file}: its image {image.name!r} is not in {image.parent}")
        boxes: list[list[float]] = []
        labels: list[int] = []
        difficult: list[bool] = []
        for item in root.iterfind("object"):
            label = self._label((item.findtext("name") or "").strip(), file)
            if label is None:
                continue
            corners = _corners(item)
            if corners is None:
                self._warnings.append(f"object dropped, it has no numbers xmin, ymin, xmax, ymax in its bndbox: {file}")
                continue
            boxes.append(corners)
            labels.append(label)
            difficult.append((item.findtext("difficult") or "").strip() in ("1", "true", "True"))
        return build_record(
            image, image_id, boxes, labels,
            difficult=difficult, size=_size(root, image), where=str(file), warnings=self._warnings,
        )  # fmt: skip

    def _label(self, name: str, file: Path) -> int | None:
        """Return a class's label; one that differs in case alone is read as the known class, others are None."""
        self.objects += 1
        label = self._index.get(name)
        if label is not None:
            return label
        known = self._folded.get(name.casefold())
        if known is not None:
            self._warnings.append(f"class {name!r} read as {known!r}: {file}")
            return self._index[known]
        self.unknown[name] += 1
        self._warnings.append(f"object of an unknown class dropped: {file}: {self._hint(name)}")
        return None

    def _hint(self, name: str) -> str:
        near = nearest_name(name, self._index, cutoff=0.0)
        hint = f"the nearest is {near!r}" if near else "the list is empty"
        return f"class {name!r} is not among the {len(self._index)} known; {hint}; own classes go into a labels.txt"

    def check_classes(self) -> None:
        """Raise DatasetError where most objects are of unknown classes: the list of classes is of another dataset."""
        unknown = self.unknown.total()
        if unknown and 2 * unknown > self.objects:
            line = next(line for line in self._warnings if line.startswith("object of an unknown class"))
            names = ", ".join(repr(name) for name, _ in self.unknown.most_common(10))
            found = f" ({unknown} of {self.objects} objects are of unknown classes: {names})" if unknown > 1 else ""
            raise DatasetError(f"{line.partition(': ')[2]}{found}")


def _corners(item: ElementTree.Element) -> list[float] | None:
    """Return an object's box as xyxy in continuous pixels; None where it lacks a number."""
    try:
        x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{key}") or "nan") for key in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return [x1 - 1, y1 - 1, x2, y2] if math.isfinite(x1 + y1 + x2 + y2) else None


def _image(
    file: Path, root: ElementTree.Element, image_id: str, images: frozenset[str], warnings: list[str]
) -> str | None:
    """Return the image's file name in JPEGImages: the annotation's own name, else its `filename`; None for neither."""
    # Annotation tools write whole paths of other machines here; only the last part can name a file of this dataset.
    named = re.split(r"[/\\]", (root.findtext("filename") or "").strip())[-1]
    if named in images and named.rpartition(".")[0] == image_id:
        return named
    for suffix in (".jpg", *sorted(IMAGE_SUFFIXES)):
        for name in (image_id + suffix, image_id + suffix.upper()):
            if name in images:
                # A missing or different suffix alone is no warning.
                if named.rpartition(".")[0] != image_id and named != image_id:
                    there = "the image of another annotation" if named in images else "not in JPEGImages"
                    found = f"its filename {named!r} is {there}" if named else "no filename"
                    warnings.append(f"filename is not that of the annotation: {file}: {found}; {name} is used")
                return name
    return named if named in images else None


def _size(root: ElementTree.Element, image: Path) -> tuple[int, int] | None:
    try:
        size = int(float(root.findtext("size/width") or 0)), int(float(root.findtext("size/height") or 0))
    except (ValueError, OverflowError):
        size = 0, 0
    return size if min(size) > 0 else read_size_or_none(image)
