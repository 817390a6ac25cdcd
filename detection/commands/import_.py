"""`pelee-import`: published weights of Pelee and PeleeNet to a model folder."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data.command_line import new_parser, positive_int, run
from pelee.commands.options import add_hidden_alias

EPILOG = """\
Reads Caffe's .caffemodel of Pelee (VOC, COCO, own classes) and PeleeNet, with BatchNorm layers or merged, PyTorch
checkpoints of PeleeNet (.pth.tar) and of the ports' Pelee, and torchvision's ssdlite320_mobilenet_v3_large and
ssd300_vgg16. Files are only parsed: no code in them runs. The folder has the weights in f32, the card, an OpenVINO
export that is verified, and with --calibration one in int8.

examples:
  pelee-import pelee_304x304_acc7637.caffemodel --output pelee-voc-coco --calibration my-photos/
  pelee-import pelee_coco.caffemodel --output pelee-coco
  pelee-import ssdlite320_mobilenet_v3_large_coco.pth --output ssdlite-coco
  pelee-import peleenet_acc7208.pth.tar --output peleenet-imagenet
  pelee-models add pelee-coco

exit codes: 0 done, 2 an error in one line, nothing written; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Argument parser of the command."""
    parser = new_parser(
        prog="pelee-import",
        description="Turn published weights of Pelee, PeleeNet or torchvision's SSDs into a model folder.",
        epilog=EPILOG,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the weights: .caffemodel, .pth.tar or .pth")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="model folder to write")
    parser.add_argument("--name", help="the model's name (default: that of the folder)")
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="class names, one per line in the order of the labels (default: VOC's for 20 classes, COCO's for 80, "
        "ImageNet's for 1000)",
    )
    parser.add_argument(
        "--prior-sizes", choices=("voc", "coco"), help="priors of a detector whose file does not state them"
    )
    parser.add_argument(
        "--input-size",
        type=positive_int,
        metavar="PIXELS",
        help="side of the input (default: the file's, or the published 304 for detectors and 224 for classifiers)",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="DIR", help="images like those of the training, for an export in int8"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="images to verify the exports on (default: samples)")
    add_hidden_alias(parser, "--pictures", dest="images", type=Path)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-import`; returns its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    options = build_parser().parse_args(words)
    return run(lambda: _main(options, shlex.join(["pelee-import", *words])))


def _main(options: argparse.Namespace, command: str) -> int:
    from data.images.image_io import find_images
    from detection.commands.export import SAMPLES
    from detection.importing.import_model import ImportOptions, check_folder, read_model, write_model
    from pelee.export.calibration import COMPARED_IMAGES, calibrate_on, choose

    check_folder(options.output)
    imported = read_model(
        options.file,
        ImportOptions(
            name=options.name or options.output.absolute().name,
            command=command,
            classes=options.classes,
            prior_sizes=options.prior_sizes,
            input_size=options.input_size,
        ),
    )
    print(imported.summary)
    images = choose(find_images([options.images or SAMPLES]), COMPARED_IMAGES)
    calibration = None
    if options.calibration is not None:
        calibration = calibrate_on(options.calibration, imported.card.input_size, resize=imported.card.resize)
    model = write_model(imported, options.output, images, calibration)
    print(
        f"{options.output}: {model.card.name}, {model.card.parameters:,} parameters, exported to OpenVINO f32", end=""
    )
    print(" and int8" if calibration else "; --calibration DIR adds int8")
    command = "pelee-classify" if model.card.task == "classification" else "pelee-detect"
    print(f"try it: {command} IMAGE --weights {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
