"""`pelee-export`: export a detector or a classifier to the format of another runtime, and verify it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.classification.layouts import LAYOUTS
from data.command_line import new_parser, run
from data.datasets.registry import dataset_formats, open_dataset
from data.errors import PeleeError, SettingsError
from pelee.commands.options import add_hidden_alias
from pelee.runtime.backends import FORMATS, check_format

if TYPE_CHECKING:
    from data.images.image_slice import ImageFile
    from pelee.export.calibration import Calibration
    from weights.card import Card
    from weights.store import ModelFile


SAMPLES = Path(__file__).parents[2] / "data" / "samples"
EPILOG = """\
The export is a folder with the model, its card and export.json with the report of the verification. Detections, or a
classifier's probabilities, are compared with those of the source in PyTorch, f32; with --split, also mAP, or top-1 and
top-5. An export that differs from its source is not kept.

examples:
  pelee-export --weights pelee-voc --format onnx
  pelee-export --weights runs/mine --format openvino --int8 --calibration my-images/ --images my-images/
  pelee-export --weights pelee-voc --format openvino --int8 --no-nms --dataset voc --root VOCdevkit \\
      --calibration-split 2007-trainval,2012-trainval --split 2007-test
  pelee-export --weights peleenet-tiny-imagenet --format openvino --int8 --dataset tiny-imagenet \\
      --root tiny-imagenet --calibration-split train --split val

exit codes: 0 done, 2 an error or a failed verification, in one line; 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-export`; returns its exit code."""
    options = build_parser().parse_args(argv)
    return run(lambda: _main(options), FORMATS[options.format].extra, in_place_of=("train", "export"))


def build_parser() -> argparse.ArgumentParser:
    """Argument parser of the command."""
    parser = new_parser(
        prog="pelee-export",
        description="Write a model for another runtime. Input: uint8 images (N, S, S, 3); output: boxes, scores and "
        "classes of a detector, probabilities (N, C) of a classifier.",
        epilog=EPILOG,
    )
    parser.add_argument("--weights", default="pelee-voc", metavar="MODEL", help="a shipped name, a folder or a file")
    parser.add_argument("--format", choices=tuple(FORMATS), required=True)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write (default: NAME-FORMAT[-int8])")
    parser.add_argument("--no-nms", action="store_true", help="detectors: output all priors, without NMS")
    parser.add_argument("--int8", action="store_true", help="quantize, calibrated on images like those of the training")
    parser.add_argument("--calibration", type=Path, metavar="DIR", help="images for --int8 (300 of them are used)")
    parser.add_argument("--calibration-split", metavar="SPLIT", help="images for --int8 from a split of --dataset")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="images to verify on (default: those of --split, those that its training was validated on, or samples)",
    )
    add_hidden_alias(parser, "--pictures", dest="images", type=Path)
    parser.add_argument(
        "--dataset",
        metavar="KIND",
        help=f"format of the data under --root: {', '.join(dataset_formats())}; classifiers: {', '.join(LAYOUTS)}",
    )
    parser.add_argument("--root", type=Path, help="folder of the dataset")
    parser.add_argument("--split", help="measure mAP, or top-1 and top-5, before and after on this split")
    return parser


def _main(options: argparse.Namespace) -> int:
    _check_options(options)
    from weights.store import resolve

    source = resolve(options.weights)
    is_classifier = source.card.task == "classification"
    if is_classifier and options.no_nms:
        raise SettingsError(f"--no-nms is for detectors, and {source.card.name} is a classifier: leave it out")
    check_format(options.format, int8=options.int8, nms=not is_classifier and not options.no_nms)
    from pelee.export.calibration import COMPARED_IMAGES, choose

    dataset, files = _open(options, options.split, source.card)
    images = choose(_images(options, source) if options.images or dataset is None else files, COMPARED_IMAGES)
    calibration = _calibration(options, source.card)
    kind = f"{options.format}{'-int8' if options.int8 else ''}"
    folder = options.output or Path(f"{source.card.name}-{kind}")
    if is_classifier:
        from pelee.classification import export as classifiers

        check = classifiers.ClassifierCheck(images, dataset)
        made = classifiers.export_classifier(source, folder, options.format, check, calibration=calibration)
        report = classifiers.report
    else:
        from detection.export import export as detectors
        from detection.export import verification

        made = detectors.export_detector(
            source,
            folder,
            options.format,
            verification.DetectorCheck(images, dataset),
            nms=not options.no_nms,
            calibration=calibration,
        )
        report = verification.report
    assert made.export is not None
    size = sum((folder / name).stat().st_size for name in made.export.files)
    print(f"{folder}: {source.card.name} as {options.format} {made.export.precision}, {size / 1e6:.1f} MB")
    print(report(made.export.verification))
    return 0


def _check_options(options: argparse.Namespace) -> None:
    chosen = [name for name in ("calibration", "calibration_split") if getattr(options, name) is not None]
    if options.int8 and len(chosen) != 1:
        raise SettingsError("--int8 needs images like those of the training: --calibration DIR or --calibration-split")
    if chosen and not options.int8:
        raise SettingsError(f"--{chosen[0].replace('_', '-')} is for --int8 only")
    split = options.split or options.calibration_split
    if bool(split) != bool(options.dataset and options.root):
        raise SettingsError("--split and --calibration-split go with --dataset and --root, and these with a split")


def _open(options: argparse.Namespace, split: str | None, card: Card) -> tuple[Any, Sequence[ImageFile]]:
    """Dataset of a split, as read for the model's task, and its image files; (None, []) for no split."""
    if split is None:
        return None, []
    if card.task == "classification":
        from pelee.classification.evaluation.evaluate import open_as_trained

        images = open_as_trained(card, options.dataset, options.root, split)
        return images, images.files
    from data.inspection.verification import verify_dataset

    dataset = verify_dataset(open_dataset(options.dataset, options.root, split), strict=True)
    return dataset, [record.image for record in dataset.records]


def _images(options: argparse.Namespace, source: ModelFile) -> Sequence[ImageFile]:
    from data.images.image_io import find_images

    if options.images is None and (own := _validation_images(source)):
        return own
    if options.images is None and not SAMPLES.is_dir():
        raise SettingsError("no images to verify the export on; give some with --images DIR")
    return find_images([options.images or SAMPLES])


def _validation_images(source: ModelFile) -> Sequence[ImageFile]:
    """Return the images that a model was validated on in training; none where its run or its data is not there."""
    from pelee.runs.run_record import read_begun

    command = "pelee-train-classifier" if source.card.task == "classification" else "pelee-train"
    try:
        begun = read_begun(source.path.parent.parent, command)
        if begun is None:
            return []
        data = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        data.add_argument("--dataset")
        data.add_argument("--root", type=Path)
        found, _ = data.parse_known_args(begun.arguments)
        if found.root is None:
            return []
        found.root = begun.locate(found.root)
        return _open(found, begun.settings["val_split"], source.card)[1]
    except (PeleeError, KeyError):
        return []


def _calibration(options: argparse.Namespace, card: Card) -> Calibration | None:
    from pelee.export.calibration import calibrate_on

    if options.calibration is not None:
        return calibrate_on(options.calibration, card.input_size, resize=card.resize)
    dataset, files = _open(options, options.calibration_split, card)
    if dataset is None:
        return None
    return calibrate_on(files, card.input_size, f"{dataset.name} {dataset.split}", resize=card.resize)


if __name__ == "__main__":
    sys.exit(main())
