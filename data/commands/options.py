"""Options for datasets that several commands share, made of the registry of dataset formats."""

import argparse
from collections.abc import Callable
from pathlib import Path

from data.datasets.registry import FORMATS, DatasetFormat, dataset_formats


def add_dataset_options(
    parser: argparse.ArgumentParser,
    *,
    required: bool = True,
    default: str | None = None,
    annotated: bool = True,
    purpose: str = "",
) -> None:
    """Add `--dataset` and `--root`; `data.datasets.registry.find_root` gives the folder where `--root` is left out.

    Args:
        parser: the command's parser.
        required: whether `--dataset` must be given; with a default it never must.
        default: the format that holds where none is given.
        annotated: whether formats without boxes are left out.
        purpose: first words of the help of `--dataset`, such as "also measure mAP: ".
    """
    names = dataset_formats(annotated)
    ending = "" if default is None else f" ({default})"
    parser.add_argument(
        "--dataset",
        choices=names,
        required=required and default is None,
        default=default,
        help=f"{purpose}format of the dataset: {_each(names, lambda entry: entry.help)}{ending}",
    )
    parser.add_argument("--root", type=Path, help=f"the dataset's folder; {_each(names, _root_help)}")


def default_splits(split: Callable[[DatasetFormat], str], annotated: bool = True) -> str:
    """Return each format with its default split, such as "voc 2007-test, coco val2017", for the help of `--split`."""
    return ", ".join(f"{name} {split(FORMATS[name]) or 'the only one'}" for name in dataset_formats(annotated))


def _root_help(entry: DatasetFormat) -> str:
    return f"{entry.root} ({entry.default_root})" if entry.default_root else entry.root


def _each(names: tuple[str, ...], text: Callable[[DatasetFormat], str]) -> str:
    return "; ".join(f"{name}: {text(FORMATS[name])}" for name in names)
