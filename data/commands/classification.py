"""Subcommands of `pelee-data` for classification datasets: `statistics` and `prepare`."""

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
        help="mean and standard deviation of the color channels",
        description="Compute the mean and the standard deviation of R, G and B, 0 to 255, over a split at the size "
        "that a training reads it at, and print them as YAML of the setting normalization. Exit code 1: some "
        "images could not be read and were skipped.",
    )
    statistics.add_argument("--dataset", choices=tuple(LAYOUTS), required=True, help="layout of the dataset")
    statistics.add_argument("--root", type=Path, required=True, help="the dataset's folder")
    statistics.add_argument("--split", metavar="S", help="the split (default: the training split)")
    statistics.add_argument("--size", type=int, metavar="PX", help="side of the resized images (default: the layout's)")
    statistics.add_argument("--grey", action="store_true", help="of the images in gray")
    _add_crop_options(statistics)
    statistics.set_defaults(body=_statistics)


def add_prepare(commands: Any) -> None:
    """Add `prepare` to the subparsers of `pelee-data`."""
    prepare = commands.add_parser(
        "prepare",
        help="convert Stanford Cars to one folder of images per class",
        description="Write Stanford Cars as OUT/SPLIT/CLASS/IMAGE, from its official folders or archives. The next "
        "call resumes an interrupted one. Exit code 1: some images could not be read and were skipped.",
    )
    prepare.add_argument("dataset", choices=("cars",), help="the dataset")
    prepare.add_argument("--root", type=Path, required=True, help="folder of the official folders or archives")
    prepare.add_argument("--output", type=Path, required=True, metavar="OUT", help="the folder to write")
    _add_crop_options(prepare)
    prepare.set_defaults(body=_prepare)


def _add_crop_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--crop-to-box", action="store_true", help="crop to the object's box")
    parser.add_argument(
        "--box-margin",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="margin around the box, as a share of its sides (0)",
    )
    parser.add_argument("--erase-background", action="store_true", help="fill the background with the mean color")


def _crop(arguments: argparse.Namespace) -> "ObjectCrop":
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
        arguments.dataset, arguments.root, arguments.split or layout.train_split, _crop(arguments)
    )
    found, errors = ChannelStatistics(), []
    with progress_bar("reading", len(images)) as advance:
        for _, image in prefetch(range(len(images)), lambda index: preprocess(images.read(index), size)):
            if isinstance(image, ImageError):
                errors.append(str(image))
            else:
                found.add(image[None])
            advance(1)
    print(f"# {images.name} {images.split}: {found.images} images at {size}×{size}")
    grey = arguments.grey
    values = found.normalization(grey)
    print(f"normalization:\n  mean: {values['mean']}\n  std: {values['std']}" + ("\ngrey: true" if grey else ""))
    return _report(errors, "could not be read and were skipped")


def _prepare(arguments: argparse.Namespace) -> int:
    from data.classification.prepare_stanford_cars import prepare_cars

    counts, errors = prepare_cars(arguments.root, arguments.output, _crop(arguments))
    print(f"{arguments.output}: {', '.join(f'{split} {count} images' for split, count in counts.items())}")
    print(f"train on it: pelee-train-classifier --dataset imagefolder --root {arguments.output} --val-split test")
    return _report(errors, "could not be read and were skipped")


def _report(errors: list[str], what: str) -> int:
    """Print the images that could not be read; returns the exit code."""
    if errors:
        print(f"error: images that {what}: {len(errors)}", file=sys.stderr)
        for line in first_few(errors, "fix the first ones and run it again"):
            print(f"error: {line}", file=sys.stderr)
    return 1 if errors else 0
