"""Class names of published weights, which store only the number of classes."""

from pathlib import Path
from typing import NamedTuple

from data.datasets.voc import CLASS_NAMES
from data.errors import SettingsError


class NamedClasses(NamedTuple):
    """Class names by label, without background, and their source for people."""

    names: list[str]
    source: str


def name_classes(count: int, file: Path | None = None) -> NamedClasses:
    """Names of `count` classes: those of a file, or of the dataset that has this number.

    20 classes are VOC's in alphabetical order, 80 COCO's in the order of its categories, 1000 ImageNet's in the order
    of its synsets: the orders of the published networks.

    Args:
        count: classes of the network, without background.
        file: text with one name per line, in the order of the labels.

    Raises:
        SettingsError: a file of another number of names or with a name twice, or a number of classes that no known
            dataset has.
    """
    if file is not None:
        names = _read(file)
        if len(names) != count:
            raise SettingsError(f"{file} has {len(names)} class names, the weights have {count} classes")
        return NamedClasses(names, file.name)
    if count == len(CLASS_NAMES):
        return NamedClasses(list(CLASS_NAMES), "VOC's names")
    if count == 80:
        return NamedClasses(_coco(), "COCO's names")
    if count == 1000:
        return NamedClasses(_imagenet(), "ImageNet's names")
    raise SettingsError(
        f"the weights have {count} classes without names; give them with --classes FILE, one per line in their order"
    )


def _read(file: Path) -> list[str]:
    from data.files.text_files import read_text

    if not file.is_file():
        raise SettingsError(f"{file}: no such file, expected class names, one per line")
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"{file} has the class name {twice[0]!r} twice; expected every name once")
    return names


def coco_by_label() -> list[str | None]:
    """Names of COCO's classes by category id, 0 to 90, as torchvision lists them.

    None for the background, 0, and for the ten ids without a class.
    """
    from torchvision.models.detection import SSD300_VGG16_Weights

    listed = SSD300_VGG16_Weights.COCO_V1.meta["categories"]
    return [None if name in ("__background__", "N/A") else name for name in listed]


def _coco() -> list[str]:
    return [name for name in coco_by_label() if name is not None]


def _imagenet() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
