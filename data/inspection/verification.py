"""Verification of a dataset before training or evaluation: one rule for unreadable images and class names.

An image that is missing, whose header cannot be read or that is cut off is left out and named; with `strict` it is an
error.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from data.classification.image_folder import ImageFolderDataset
from data.command_line import first_few
from data.cpu_cores import map_in_threads
from data.datasets.class_names import class_name_faults
from data.datasets.dataset_warnings import summarize_warnings
from data.datasets.image_headers import check_headers, check_pixels
from data.datasets.records import Dataset
from data.errors import DatasetError, ImageError
from data.images.image_io import read_size


def verify_dataset(
    dataset: Dataset,
    *,
    strict: bool = False,
    decode: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Dataset:
    """Check the class names and every image's header of a detection dataset; see `data.datasets.image_headers`.

    Args:
        dataset: a split, as its reader returned it.
        strict: raise an error for an unreadable image.
        decode: decode every image; by default only those whose last bytes are not those of a whole image.
        progress: called with numbers of images.

    Returns:
        The dataset without unreadable images, which `unreadable` names.

    Raises:
        DatasetError: an empty class name, or one that comes twice; no readable image; with `strict` any unreadable one;
            annotations that all had to be dropped.
    """
    _check_names(dataset.class_names, f"{dataset.name} {dataset.split}")
    checked = check_headers(dataset, decode=decode, progress=progress)
    _check_unreadable(checked.unreadable, len(checked.records), f"{dataset.name} {dataset.split}", strict)
    if checked.warnings and not any(len(record.labels) for record in checked.records):
        raise DatasetError(
            f"{dataset.name} {dataset.split}: no image has an object; {'; '.join(summarize_warnings(checked.warnings))}"
        )
    return checked


def verify_image_folder(
    images: ImageFolderDataset,
    *,
    strict: bool = False,
    decode: bool = False,
    progress: Callable[[int], object] | None = None,
) -> ImageFolderDataset:
    """Check the class names and every image of a classification dataset; arguments and errors as `verify_dataset`.

    Returns:
        The dataset without unreadable images, which `unreadable` names. A class may lose all its images.
    """
    where = f"{images.name} {images.split}"
    _check_names(images.class_names, where)

    def reason(index: int) -> str | None:
        try:
            check_pixels(images.files[index], decode)
            read_size(images.files[index])
        except ImageError as error:
            return str(error)
        return None

    reasons = []
    for found in map_in_threads(reason, range(len(images))):
        reasons.append(found)
        if progress is not None:
            progress(1)
    unreadable = [*images.unreadable, *(text for text in reasons if text is not None)]
    kept = [index for index, text in enumerate(reasons) if text is None]
    _check_unreadable(unreadable, len(kept), where, strict)
    if len(kept) == len(images):
        return images
    return replace(
        images,
        files=[images.files[index] for index in kept],
        labels=images.labels[kept],
        boxes=None if images.boxes is None else images.boxes[kept],
        unreadable=unreadable,
    )


def unreadable_note(unreadable: Sequence[str], elsewhere: str) -> list[str]:
    """Return the lines that say which images are left out: a title, the first ones and `elsewhere`, where to find the
    rest; none without any.
    """
    if not unreadable:
        return []
    first = first_few(unreadable, elsewhere)
    return [f"note: {len(unreadable)} images cannot be read and are left out:", *(f"  {line}" for line in first)]


def _check_names(names: Sequence[str], where: str) -> None:
    faults = class_name_faults(names)
    if faults:
        raise DatasetError(f"{where}: {'; '.join(faults)}")


def _check_unreadable(unreadable: Sequence[str], readable: int, where: str, strict: bool) -> None:
    if unreadable and (strict or not readable):
        raise DatasetError(
            f"{where}: {len(unreadable)} of {len(unreadable) + readable} images are missing or cannot be read, the "
            f"first is {unreadable[0]}; repair or remove them"
        )
