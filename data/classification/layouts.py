"""The layouts of classification sets; light, as commands list them in their --help."""

from typing import NamedTuple


class Layout(NamedTuple):
    """A data set's splits, and the sizes in pixels that suit its images."""

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
