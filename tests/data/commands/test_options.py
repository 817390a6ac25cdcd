"""Options for datasets, made of the registry of formats."""

import argparse
from pathlib import Path

import pytest

from data.commands.options import add_dataset_options, default_splits


def parse(words: list[str], **options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_dataset_options(parser, **options)  # type: ignore[arg-type]
    return parser.parse_args(words)


def test_a_format_is_required_unless_told_otherwise() -> None:
    assert parse(["--dataset", "coco", "--root", "x"]) == argparse.Namespace(dataset="coco", root=Path("x"))
    assert parse([], required=False) == argparse.Namespace(dataset=None, root=None)
    assert parse(["--dataset", "coco"]).root is None  # `find_root` gives the default, or the error
    with pytest.raises(SystemExit):
        parse(["--root", "x"])


def test_a_default_format() -> None:
    assert parse(["--root", "x"], default="voc").dataset == "voc"


def test_formats_without_boxes_are_for_checks_only() -> None:
    assert parse(["--dataset", "folder", "--root", "x"], annotated=False).dataset == "folder"
    with pytest.raises(SystemExit):
        parse(["--dataset", "folder", "--root", "x"])


def test_default_splits() -> None:
    assert default_splits(lambda entry: entry.val_split) == (
        "voc 2007-test, coco val2017, yolo val, packed the only one, packed-in-memory the only one"
    )
