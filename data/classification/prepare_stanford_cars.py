"""Stanford Cars from its official archives to a folder a class: `OUT/SPLIT/CLASS/00001.jpg`."""

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

#: What each official archive unpacks to.
ARCHIVES = {
    "car_devkit.tgz": "devkit",
    "cars_train.tgz": "cars_train",
    "cars_test.tgz": "cars_test",
    "car_ims.tgz": "car_ims",
}
BEGUN = ".begun.json"


def unpack_cars(root: Path) -> list[str]:
    """Unpack the archives in `root` whose folder is not there yet; returns their names.

    A folder appears whole or not at all.

    Raises:
        DatasetError: an archive that is damaged, leads out of the folder or holds something else.
    """
    done = []
    for name, folder in ARCHIVES.items():
        archive = root / name
        if not archive.is_file() or (root / folder).exists():
            continue
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as aside:
            try:
                with tarfile.open(archive) as tar:
                    tar.extractall(aside, filter="data")
            except (tarfile.TarError, zlib.error, EOFError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise DatasetError(f"{archive}: cannot be unpacked ({reason}); get it again") from None
            if not (Path(aside) / folder).is_dir():
                raise DatasetError(f"{archive}: has no folder {folder}; expected Stanford Cars' own archive")
            (Path(aside) / folder).replace(root / folder)
        done.append(name)
    return done


def prepare_cars(
    root: Path, output: Path, view: ObjectCrop, *, progress: bool = True
) -> tuple[dict[str, int], list[str]]:
    """Write both splits as folders of images a class, each image as the view shows it; whole ones are copied.

    The work goes on in `OUT.part`, which is renamed at the end: a call that was cut is taken up by the next with the
    same view. A "/" in a class name becomes "-".

    Args:
        root: the official folders, or the archives that hold them.
        output: must not exist.
        progress: a bar on stderr, where that is a terminal.

    Returns:
        Images of each split, and a line for every one that could not be read and is left out.

    Raises:
        DatasetError: what `read_cars` raises.
        SettingsError: the output exists, or was begun with another view.
    """
    if output.exists():
        raise SettingsError(f"{output} exists; name a folder that does not")
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected {EXPECTED} in it, or their archives")
    unpack_cars(root)
    splits = [open_image_folder("cars", root, split, view) for split in SPLITS]
    part = output.with_name(output.name + ".part")
    begun = {"root": str(root.resolve()), **asdict(view)}
    if part.exists() and _begun(part) != begun:
        raise SettingsError(f"{part} was begun with other options or another root; delete it, or name another --output")
    for path in part.rglob(".*"):
        path.unlink()  # what a kill left half-written
    with atomic_path(part / BEGUN) as aside:
        aside.write_text(json.dumps(begun) + "\n", encoding="utf-8")
    jobs = [
        _Job(images, place, part / images.split / _folder(images, place) / images.files[place].name)
        for images in splits
        for place in range(len(images))
    ]
    left = [job for job in jobs if not job.path.is_file()]
    errors: dict[Path, str] = {}
    with progress_bar("writing", len(left), shown=progress) as advance:
        for job, found in prefetch(left, _Job.write):
            if isinstance(found, ImageError):
                errors[job.path] = str(found)
            advance(1)
    part.replace(output)
    (output / BEGUN).unlink()
    counts = {split: sum(job.images.split == split and job.path not in errors for job in jobs) for split in SPLITS}
    return counts, list(errors.values())


class _Job(NamedTuple):
    """One image on its way to its file."""

    images: ImageFolderDataset
    place: int
    path: Path

    def write(self) -> None:
        """Write the view of the image, whole or not at all; one that is shown as it is keeps its bytes."""
        image = self.images.read(self.place)
        if self.images.view.needs_box:
            write_image(self.path, image)
        else:
            with atomic_path(self.path) as aside:
                shutil.copyfile(self.images.files[self.place], aside)


def _folder(images: ImageFolderDataset, place: int) -> str:
    name = images.class_names[images.labels[place]].replace("/", "-")
    if name.startswith(".") or "\\" in name or "\0" in name:
        raise DatasetError(f"class {name!r} of {images.name} is no name for a folder; get the annotations again")
    return name


def _begun(part: Path) -> object:
    try:
        return json.loads((part / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
