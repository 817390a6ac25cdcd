"""Layouts of classification datasets, a light table that commands list in their `--help`."""

from typing import NamedTuple


class Layout(NamedTuple):
    """Default splits of a dataset, and default sizes in pixels of its images and of a network's input."""

    train_split: str
    val_split: str
    image_size: int
    input_size: int


LAYOUTS = {
    "tiny-imagenet": Layout("train", "val", 64, 64),
    "cifar10": Layout("train", "test", 32, 32),
    "cars": Layout("train", "test", 256, 224),
    "imagefolder": Layout("train", "val", 256, 224),
}
