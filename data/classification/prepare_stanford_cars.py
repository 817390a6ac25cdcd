"""Converts Stanford Cars from its official archives to one folder per class: `OUT/SPLIT/CLASS/00001.jpg`."""

import json
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from data.atomic_files import atomic_path
from data.classification.image_folder import ImageFolderDataset, open_image_folder
from data.classification.object_crop import ObjectCrop
from data.classification.stanford_cars import EXPECTED, SPLITS
from data.errors import DatasetError, ImageError, SettingsError
from data.images.image_io import write_image
from data.images.prefetch import prefetch
from data.progress_bar import progress_bar

#: Official archive -> folder in it.
ARCHIVES = {
    "car_devkit.tgz": "devkit",
    "cars_train.tgz": "cars_train",
    "cars_test.tgz": "cars_test",
    "car_ims.tgz": "car_ims",
}
BEGUN = ".begun.json"


def unpack_cars(root: Path) -> list[str]:
    """Unpack the archives in `root` whose folder is not there yet; returns their names.

    Each folder is unpacked to a temporary folder and renamed when it is complete.

    Raises:
        DatasetError: an archive that is damaged, has members outside of the folder, or does not hold the folder.
    """
    done = []
    for name, folder in ARCHIVES.items():
        archive = root / name
        if not archive.is_file() or (root / folder).exists():
            continue
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as temporary:
            try:
                with tarfile.open(archive) as tar:
                    tar.extractall(temporary, filter="data")
            except (tarfile.TarError, zlib.error, EOFError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise DatasetError(f"{archive}: cannot be unpacked ({reason}); get it again") from None
            if not (Path(temporary) / folder).is_dir():
                raise DatasetError(f"{archive}: has no folder {folder}; expected Stanford Cars' own archive")
            (Path(temporary) / folder).replace(root / folder)
        done.append(name)
    return done


def prepare_cars(
    root: Path, output: Path, crop: ObjectCrop, *, progress: bool = True
) -> tuple[dict[str, int], list[str]]:
    """Write both splits as one folder of images per class, cropped by `crop`; whole images are copied.

    Writes to `OUT.part`, which is renamed at the end; the next call with the same crop resumes an interrupted one. A
    "/" in a class name becomes "-".

    Args:
        root: folder of the official folders, or of the archives.
        output: folder to write; must not exist.
        crop: applied to every image.
        progress: show a progress bar on stderr, if it is a terminal.

    Returns:
        Number of images of each split, and a line for every image that could not be read and is skipped.

    Raises:
        DatasetError: see `read_cars`.
        SettingsError: the output exists, or was begun with another crop.
    """
    if output.exists():
        raise SettingsError(f"{output} exists; name a folder that does not")
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected {EXPECTED} in it, or their archives")
    unpack_cars(root)
    splits = [open_image_folder("cars", root, split, crop) for split in SPLITS]
    part = output.with_name(output.name + ".part")
    begun = {"root": str(root.resolve()), **asdict(crop)}
    if part.exists() and _begun(part) != begun:
        raise SettingsError(f"{part} was begun with other options or another root; delete it, or name another --output")
    for path in part.rglob(".*"):
        path.unlink()  # temporary files of a killed run
    with atomic_path(part / BEGUN) as temporary:
        temporary.write_text(json.dumps(begun) + "\n", encoding="utf-8")
    jobs = [
        _Job(images, index, part / images.split / _folder(images, index) / images.files[index].name)
        for images in splits
        for index in range(len(images))
    ]
    pending = [job for job in jobs if not job.path.is_file()]
    errors: dict[Path, str] = {}
    with progress_bar("writing", len(pending), shown=progress) as advance:
        for job, found in prefetch(pending, _Job.write):
            if isinstance(found, ImageError):
                errors[job.path] = str(found)
            advance(1)
    part.replace(output)
    (output / BEGUN).unlink()
    counts = {split: sum(job.images.split == split and job.path not in errors for job in jobs) for split in SPLITS}
    return counts, list(errors.values())


class _Job(NamedTuple):
    """An image to write, and the path to write it to."""

    images: ImageFolderDataset
    image_index: int
    path: Path

    def write(self) -> None:
        """Write the cropped image atomically; without a crop the file is copied."""
        image = self.images.read(self.image_index)
        if self.images.crop.needs_box:
            write_image(self.path, image)
        else:
            with atomic_path(self.path) as temporary:
                shutil.copyfile(self.images.files[self.image_index], temporary)


def _folder(images: ImageFolderDataset, index: int) -> str:
    name = images.class_names[images.labels[index]].replace("/", "-")
    if name.startswith(".") or "\\" in name or "\0" in name:
        raise DatasetError(f"class {name!r} of {images.name} is no name for a folder; get the annotations again")
    return name


def _begun(part: Path) -> object:
    try:
        return json.loads((part / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
