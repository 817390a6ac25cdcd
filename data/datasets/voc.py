"""Reader of PASCAL VOC: VOCdevkit folders as they are unpacked, and other data in their layout.

VOC2007/Annotations/000001.xml, VOC2007/ImageSets/Main/trainval.txt, VOC2007/JPEGImages/000001.jpg
"""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

from data.datasets.file_finder import file_names
from data.datasets.record_builder import build_record
from data.datasets.records import Dataset, Record
from data.errors import DatasetError, nearest_name
from data.images.image_io import IMAGE_SUFFIXES, read_size

#: The 20 classes in alphabetical order, which is the order of the labels.
CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def read_voc(root: Path, split: str) -> Dataset:
    """Read a split of a VOC devkit.

    Boxes are 1-based inclusive pixels in the files and `[xmin - 1, ymin - 1, xmax, ymax]` in the records.

    Args:
        root: the VOCdevkit folder, its parent, or one folder with Annotations, ImageSets and JPEGImages in it.
            A `labels.txt` in it (one class name per line) replaces VOC's 20 names.
        split: comma-separated YEAR-SPLIT ("2007-trainval,2012-trainval"). SPLIT alone means every year that has it.
            Of a split of one class ("2007-dog_trainval"), the images without that class (-1) are skipped.

    Raises:
        DatasetError: no such root or split, a class name that is not in the list, a damaged annotation, a missing
            image.
    """
    root = Path(root)
    devkit, folders = _year_folders(root)
    names = _class_names(root, devkit, folders)
    index = {name: label for label, name in enumerate(names)}
    warnings: list[str] = []
    records: list[Record] = []
    seen: set[str] = set()
    for folder, name in _splits(folders, split):
        images = file_names(folder / "JPEGImages")
        for image_id in _image_ids(folder, name):
            record = _read(folder, image_id, images, index, warnings)
            if record.image_id in seen:
                warnings.append(f"{folder.name}: {image_id} is listed twice in {split}; the first one counts")
                continue
            seen.add(record.image_id)
            records.append(record)
    if not records:
        raise DatasetError(f"{root}: the split {split!r} lists no images; there are {_available(folders)}")
    return Dataset("voc", split, names, records, warnings)


def _is_year(folder: Path) -> bool:
    return (folder / "Annotations").is_dir() and (folder / "ImageSets" / "Main").is_dir()


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
        f"{root}: not a VOC dataset; expected VOC2007 (or another year) in it, "
        "or Annotations, ImageSets/Main and JPEGImages"
    )


def _class_names(root: Path, devkit: Path, folders: dict[str, Path]) -> tuple[str, ...]:
    for folder in dict.fromkeys([root, devkit, *folders.values()]):
        file = folder / "labels.txt"
        if file.is_file():
            names = [line.strip() for line in _text(file).splitlines() if line.strip()]
            twice = {name for name in names if names.count(name) > 1}
            if not names or twice:
                found = f"{min(twice)!r} twice" if twice else "no names"
                raise DatasetError(f"{file}: {found}; expected one class name a line")
            return tuple(names)
    return CLASS_NAMES


def _splits(folders: dict[str, Path], split: str) -> list[tuple[Path, str]]:
    """Parse "2007-trainval,2012-trainval" into [(folder, "trainval"), ...]; DatasetError for one that is missing."""
    found: list[tuple[Path, str]] = []
    for part in (part.strip() for part in split.split(",")):
        match = re.fullmatch(r"(\d{4})-(.+)", part)
        if match and match[1] in folders:
            candidates = [(folders[match[1]], match[2])]
        else:
            candidates = [(folder, part) for folder in folders.values()]
        present = [(folder, name) for folder, name in candidates if name and _split_file(folder, name).is_file()]
        if not present:
            where = ", ".join(str(folder) for folder in folders.values())
            raise DatasetError(f"{where}: no split {part!r}; there are {_available(folders)}")
        found += present
    return list(dict.fromkeys(found))


def _split_file(folder: Path, name: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{name}.txt"


def _available(folders: dict[str, Path]) -> str:
    """Return the names of the splits, without VOC's per-class ones (dog_train, ...), for an error message."""
    own = [
        f"{year}-{file.stem}" if year else file.stem
        for year, folder in folders.items()
        for file in sorted((folder / "ImageSets" / "Main").glob("*.txt"))
        if file.stem.rpartition("_")[0] not in CLASS_NAMES
    ]
    return ", ".join(own) or "none (ImageSets/Main holds no .txt file)"


def _image_ids(folder: Path, name: str) -> list[str]:
    ids: list[str] = []
    for line in _text(_split_file(folder, name)).splitlines():
        line = line.strip()
        if not line:
            continue
        *first, second = line.rsplit(None, 1)
        # Image ids may contain blanks ("image 1"): a line is two columns only where no annotation has its whole name.
        if first and second in ("-1", "0", "1") and not (folder / "Annotations" / f"{line}.xml").is_file():
            if second == "-1":
                continue
            line = first[0]
        ids.append(line)
    return ids


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def _parse(file: Path) -> ElementTree.Element:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; every image of a split needs its annotation") from error
    # Annotations need no DTD, and entity expansion can exhaust the memory. Zero bytes: UTF-16, which would hide both.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\0" in content:
        raise DatasetError(f"{file}: a document type, an entity or a zero byte; expected plain UTF-8 VOC XML")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(f"{file}: not XML ({error}); expected a VOC annotation") from error


def _read(folder: Path, image_id: str, images: frozenset[str], index: dict[str, int], warnings: list[str]) -> Record:
    file = folder / "Annotations" / f"{image_id}.xml"
    root = _parse(file)
    image = folder / "JPEGImages" / _image(file, root, image_id, images, warnings)
    boxes: list[list[float]] = []
    labels: list[int] = []
    difficult: list[bool] = []
    for item in root.iterfind("object"):
        name = (item.findtext("name") or "").strip()
        label = index.get(name)
        if label is None:
            raise DatasetError(_unknown(file, name, list(index)))
        box = item.find("bndbox")
        try:
            corners = [float(box.findtext(key) or "nan") for key in ("xmin", "ymin", "xmax", "ymax")]  # type: ignore[union-attr]
        except (AttributeError, ValueError):
            corners = [float("nan")]
        if any(math.isnan(value) for value in corners):
            raise DatasetError(f"{file}: an object {name!r} without numbers xmin, ymin, xmax, ymax in its bndbox")
        boxes.append([corners[0] - 1, corners[1] - 1, corners[2], corners[3]])
        labels.append(label)
        difficult.append((item.findtext("difficult") or "").strip() in ("1", "true", "True"))
    return build_record(
        image, image_id, boxes, labels,
        difficult=difficult, size=_size(root, image), where=str(file), warnings=warnings,
    )  # fmt: skip


def _image(file: Path, root: ElementTree.Element, image_id: str, images: frozenset[str], warnings: list[str]) -> str:
    """Return the image's file name in JPEGImages: the annotation's `filename`, else the annotation's own name."""
    # Annotation tools write whole paths of other machines here; only the last part can name a file of this dataset.
    named = re.split(r"[/\\]", (root.findtext("filename") or "").strip())[-1]
    if named in images:
        return named
    for suffix in (".jpg", *sorted(IMAGE_SUFFIXES)):
        for name in (image_id + suffix, image_id + suffix.upper()):
            if name in images:
                if Path(named).stem != image_id:  # a missing or different suffix alone is no warning
                    found = f"its filename {named!r} is not in JPEGImages" if named else "no filename"
                    warnings.append(f"{file}: {found}; {name} is used")
                return name
    raise DatasetError(f"{file}: its image {named or image_id + '.jpg'!r} is not in {file.parent.parent}/JPEGImages")


def _size(root: ElementTree.Element, image: Path) -> tuple[int, int]:
    try:
        size = int(float(root.findtext("size/width") or 0)), int(float(root.findtext("size/height") or 0))
    except (ValueError, OverflowError):
        size = 0, 0
    return size if min(size) > 0 else read_size(image)


def _unknown(file: Path, name: str, names: list[str]) -> str:
    near = nearest_name(name, names, cutoff=0.0)
    hint = f"the nearest is {near!r}" if near else "the list is empty"
    return f"{file}: class {name!r} is not among the {len(names)} known; {hint}; own classes go into a labels.txt"
