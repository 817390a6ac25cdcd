"""Reader of a folder of images without annotations."""

from pathlib import Path

from data.datasets.record_builder import build_record, read_size_or_none
from data.datasets.records import Dataset, Record
from data.errors import DatasetError
from data.images.image_io import find_images


def read_folder(root: Path, split: str) -> Dataset:
    """Read the images of a folder and its subfolders, sorted by path; their ids are the paths relative to `root`.

    Args:
        root: the folder.
        split: a subfolder to read, or "all" (or nothing) for the whole folder.

    Raises:
        DatasetError: no such folder.
        ImageError: no image in it.
    """
    root = Path(root)
    folder = root if split in ("", "all") else root / split
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; the split is a subfolder of {root}, or 'all'")
    warnings: list[str] = []
    records: list[Record] = []
    for path in find_images([folder]):
        name = path.relative_to(root).as_posix()
        records.append(build_record(path, name, [], [], size=read_size_or_none(path), where=name, warnings=warnings))
    return Dataset("folder", split or "all", (), records, warnings)
