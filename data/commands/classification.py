"""The commands of `pelee-data` for classification sets: `statistics` and `prepare`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.classification.layouts import LAYOUTS
from data.command_line import first_few

if TYPE_CHECKING:
    from data.classification.object_crop import ObjectCrop


def add_statistics(commands: Any) -> None:
    """Add `statistics` to the subparsers of `pelee-data`."""
    statistics = commands.add_parser(
        "statistics",
        help="mean and standard deviation of a classification set's colours",
        description="Compute the mean and the standard deviation of R, G and B, 0 to 255, over a split at the size "
        "that a training reads it at, and print them as the YAML of the setting normalization. Exit code 1: some "
        "images could not be read and do not count.",
    )
    statistics.add_argument("--dataset", choices=tuple(LAYOUTS), required=True, help="the data set's layout")
    statistics.add_argument("--root", type=Path, required=True, help="the data set's folder")
    statistics.add_argument("--split", metavar="S", help="the split (default: the one that is trained on)")
    statistics.add_argument("--size", type=int, metavar="PX", help="side to read at (default: the layout's)")
    statistics.add_argument("--grey", action="store_true", help="of the grey images")
    _add_view(statistics)
    statistics.set_defaults(body=_statistics)


def add_prepare(commands: Any) -> None:
    """Add `prepare` to the subparsers of `pelee-data`."""
    prepare = commands.add_parser(
        "prepare",
        help="turn Stanford Cars into a folder of images a class",
        description="Write Stanford Cars as OUT/SPLIT/CLASS/IMAGE, from its official folders or archives. A call "
        "that was cut is taken up by the next. Exit code 1: some images could not be read and are left out.",
    )
    prepare.add_argument("dataset", choices=("cars",), help="the data set")
    prepare.add_argument("--root", type=Path, required=True, help="folder of the official folders or archives")
    prepare.add_argument("--output", type=Path, required=True, metavar="OUT", help="the folder to make")
    _add_view(prepare)
    prepare.set_defaults(body=_prepare)


def _add_view(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--crop-to-box", action="store_true", help="show the object's box alone")
    parser.add_argument(
        "--box-margin", type=float, default=0.0, metavar="SHARE", help="of the box's sides, around the crop (0)"
    )
    parser.add_argument("--erase-background", action="store_true", help="paint the mean colour around the box")


def _view(arguments: argparse.Namespace) -> "ObjectCrop":
    from data.classification.object_crop import ObjectCrop
    from data.errors import SettingsError

    if not 0 <= arguments.box_margin < float("inf"):
        raise SettingsError(f"--box-margin is {arguments.box_margin}; expected a share of the box's sides from 0")
    return ObjectCrop.of(vars(arguments))


def _statistics(arguments: argparse.Namespace) -> int:
    from data.classification.channel_statistics import ChannelStatistics
    from data.classification.image_folder import open_image_folder
    from data.errors import ImageError, SettingsError
    from data.images.prefetch import prefetch
    from data.images.preprocess import preprocess
    from data.progress_bar import progress_bar

    layout = LAYOUTS[arguments.dataset]
    size = layout.image_size if arguments.size is None else arguments.size
    if size < 1:
        raise SettingsError(f"--size is {size}; expected a side in pixels from 1")
    images = open_image_folder(
        arguments.dataset, arguments.root, arguments.split or layout.train_split, _view(arguments)
    )
    found, errors = ChannelStatistics(), []
    with progress_bar("reading", len(images)) as advance:
        for _, image in prefetch(range(len(images)), lambda place: preprocess(images.read(place), size)):
            if isinstance(image, ImageError):
                errors.append(str(image))
            else:
                found.add(image[None])
            advance(1)
    print(f"# {images.name} {images.split}: {found.images} images at {size}×{size}")
    grey = arguments.grey
    values = found.normalization(grey)
    print(f"normalization:\n  mean: {values['mean']}\n  std: {values['std']}" + ("\ngrey: true" if grey else ""))
    return _tell(errors, "could not be read and do not count")


def _prepare(arguments: argparse.Namespace) -> int:
    from data.classification.prepare_stanford_cars import prepare_cars

    counts, errors = prepare_cars(arguments.root, arguments.output, _view(arguments))
    print(f"{arguments.output}: {', '.join(f'{split} {count} images' for split, count in counts.items())}")
    print(f"train on it: pelee-train-classifier --dataset imagefolder --root {arguments.output} --val-split test")
    return _tell(errors, "could not be read and are left out")


def _tell(errors: list[str], what: str) -> int:
    if errors:
        print(f"error: images that {what}: {len(errors)}", file=sys.stderr)
        for line in first_few(errors, "mend the first ones and run it again"):
            print(f"error: {line}", file=sys.stderr)
    return 1 if errors else 0
