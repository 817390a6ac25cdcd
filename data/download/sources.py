"""Sources of the public datasets: addresses, sizes, checksums."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class DownloadPart:
    """One archive of a dataset.

    Attributes:
        path: path of the archive below the dataset's base address.
        md5: of the archive, 32 hexadecimal digits, as published by its authors or in common libraries.
        holds: a file or folder, relative to the root, that exists after unpacking.
        growth: unpacked size divided by the size of the archive, for the check of the disk space.
    """

    path: str
    md5: str
    holds: str
    growth: float = 1.1

    @property
    def file_name(self) -> str:
        """File name of the archive."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class DownloadSource:
    """Base address of a dataset, and its parts by name."""

    base_url: str
    parts: Mapping[str, DownloadPart]


SOURCES = {
    "voc": DownloadSource(
        "http://host.robots.ox.ac.uk/pascal/VOC/",
        {
            "2007-trainval": DownloadPart(
                "voc2007/VOCtrainval_06-Nov-2007.tar",
                "c52e279531787c972589f7e41ab4ae64",
                "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt",
            ),
            "2007-test": DownloadPart(
                "voc2007/VOCtest_06-Nov-2007.tar",
                "b6e924de25625d8de591ea690078ad9f",
                "VOCdevkit/VOC2007/ImageSets/Main/test.txt",
            ),
            "2012-trainval": DownloadPart(
                "voc2012/VOCtrainval_11-May-2012.tar",
                "6cd6e144f989b92b3379bac3b3de84fd",
                "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt",
            ),
        },
    ),
    "coco": DownloadSource(
        "http://images.cocodataset.org/",
        {
            "train2017": DownloadPart("zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017"),
            "val2017": DownloadPart("zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", "val2017"),
            "annotations": DownloadPart(
                "annotations/annotations_trainval2017.zip",
                "f4bbac642086de4f52a3fdda2de5fa2c",
                "annotations/instances_val2017.json",
                growth=4.0,
            ),
        },
    ),
}
