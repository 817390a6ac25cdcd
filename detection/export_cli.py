"""pelee-export: the detector in the formats of other runtimes, verified before it is handed over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command import run
from data.errors import SettingsError

if TYPE_CHECKING:
    from data.records import Dataset
    from pelee.export import Calibration

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
EPILOG = """\
The export is a folder with the model, its card and export.json, the report of the check. Its detections are compared
with those of the source in PyTorch, f32; with --split, mAP is, too. An export that is another detector is not kept.

examples:
  pelee-export --weights pelee-voc --format onnx
  pelee-export --weights runs/mine --format openvino --int8 --calibration my-pictures/ --pictures my-pictures/
  pelee-export --weights pelee-voc --format openvino --int8 --no-nms --dataset voc --root VOCdevkit \\
      --calibration-split 2007-trainval,2012-trainval --split 2007-test

exit codes: 0 done, 2 an error or a failed check, told in one line; 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-export`; returns its exit code."""
    options = build_parser().parse_args(argv)
    return run(lambda: _main(options))


def build_parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = argparse.ArgumentParser(
        prog="pelee-export",
        description="Write a detector for another runtime: uint8 pictures (N, S, S, 3) in, boxes, scores, classes out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", default="pelee-voc", metavar="MODEL", help="a shipped name, a folder or a file")
    parser.add_argument("--format", choices=("onnx", "openvino", "torchscript"), required=True)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write (default: NAME-FORMAT[-int8])")
    parser.add_argument("--no-nms", action="store_true", help="end with scores and boxes of all priors")
    parser.add_argument("--int8", action="store_true", help="quantise, calibrated on pictures of the training's kind")
    parser.add_argument("--calibration", type=Path, metavar="DIR", help="pictures for --int8 (300 of them are taken)")
    parser.add_argument("--calibration-split", metavar="SPLIT", help="the same from a split of --dataset")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="to verify on (default: the split's, the samples)")
    parser.add_argument("--dataset", choices=("voc", "coco", "yolo"), help="layout of the data under --root")
    parser.add_argument("--root", type=Path, help="the data set's folder")
    parser.add_argument("--split", help="measure mAP before and after on this split of --dataset")
    return parser


def _main(options: argparse.Namespace) -> int:
    _check_options(options)
    from detection.export import COMPARED_PICTURES, Check, choose, export_detector
    from weights.store import resolve

    source = resolve(options.weights)
    dataset = _open(options, options.split)
    if options.pictures is not None or dataset is None:
        from data.images import find_pictures

        if options.pictures is None and not SAMPLES.is_dir():
            raise SettingsError("no pictures to verify the export on; name some with --pictures DIR")
        pictures = find_pictures([options.pictures or SAMPLES])
    else:
        pictures = [record.image for record in dataset.records]
    kind = f"{options.format}{'-int8' if options.int8 else ''}"
    folder = options.output or Path(f"{source.card.name}-{kind}")
    made = export_detector(
        source,
        folder,
        options.format,
        Check(choose(pictures, COMPARED_PICTURES), dataset),
        nms=not options.no_nms,
        calibration=_calibration(options, source.card.input_size),
    )
    assert made.export is not None
    size = sum((folder / name).stat().st_size for name in made.export.files)
    print(f"{folder}: {source.card.name} as {options.format} {made.export.precision}, {size / 1e6:.1f} MB")
    print(report(made.export.verification))
    return 0


def report(verification: dict[str, Any]) -> str:
    """What a check found, for people."""
    v = verification
    lines = [
        f"{v['runtime']} against {v['reference']}, {v['pictures']} pictures, {v['detections']} detections "
        f"of both from {v['confidence']:.2f} on:",
        f"  agree at IoU 0.95  {100 * v['agreement']:.2f} %   found at IoU 0.5  {100 * v['found']:.2f} %",
        f"  largest difference: box {v['largest_box_difference']:.3f} px of the input (mean "
        f"{v['mean_box_difference']:.3f}), score {v['largest_score_difference']:.4f} "
        f"(mean {v['mean_score_difference']:.4f})",
    ]
    if "map" in v:
        lines.append(f"  mAP {v['map_reference']:.2f} -> {v['map']:.2f} on {v['split']}")
    return "\n".join(lines)


def _check_options(options: argparse.Namespace) -> None:
    chosen = [name for name in ("calibration", "calibration_split") if getattr(options, name) is not None]
    if options.int8 and len(chosen) != 1:
        raise SettingsError("--int8 needs pictures of the training's kind: --calibration DIR or --calibration-split")
    if chosen and not options.int8:
        raise SettingsError(f"--{chosen[0].replace('_', '-')} is for --int8 only")
    split = options.split or options.calibration_split
    if bool(split) != bool(options.dataset and options.root):
        raise SettingsError("--split and --calibration-split go with --dataset and --root, and these with a split")


def _open(options: argparse.Namespace, split: str | None) -> Dataset | None:
    if split is None:
        return None
    from data.datasets import open_dataset

    return open_dataset(options.dataset, options.root, split)


def _calibration(options: argparse.Namespace, size: int) -> Calibration | None:
    source = options.calibration or _open(options, options.calibration_split)
    if source is None:
        return None
    from detection.export import calibrate_on

    return calibrate_on(source, size)


if __name__ == "__main__":
    sys.exit(main())
