"""Converter of the Caffe MobileNet-SSD into the safetensors file that `pelee-train --teacher` reads.

Run once: `python -m detection.commands.convert_teacher MobileNetSSD_deploy.caffemodel teacher.safetensors`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.atomic_files import atomic_path
from data.command_line import new_parser, run
from data.errors import WeightsError


def build_parser() -> argparse.ArgumentParser:
    """Argument parser of the command."""
    parser = new_parser(
        prog="python -m detection.commands.convert_teacher",
        description="Convert the Caffe MobileNet-SSD into a teacher file for pelee-train.",
    )
    parser.add_argument("caffemodel", type=Path, metavar="FILE.caffemodel", help="the Caffe MobileNet-SSD")
    parser.add_argument("output", type=Path, metavar="FILE.safetensors", help="the teacher file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = build_parser().parse_args(argv)
    return run(lambda: convert(options.caffemodel, options.output))


def convert(caffemodel: Path, output: Path) -> int:
    """Write the weights of a `.caffemodel` as the state dict of `detection.training.distillation.MobileNetTeacher`.

    Raises:
        WeightsError: no such file, or not the Caffe MobileNet-SSD.
    """
    from safetensors.numpy import save

    from detection.training.distillation import MobileNetTeacher
    from pelee.importing.caffemodel import read_caffemodel

    layers = read_caffemodel(caffemodel)
    tensors = {}
    for name, tensor in MobileNetTeacher().state_dict().items():
        layer, _, kind = name.rpartition(".")
        caffe_name = caffe_layer_name(layer)
        values = layers[caffe_name].blobs if caffe_name in layers else ()
        index = ("weight", "bias").index(kind)
        if len(values) != 2 or values[index].size != tensor.numel():
            raise WeightsError(f"{caffemodel}: has no layer {caffe_name} of the Caffe MobileNet-SSD's shape")
        tensors[name] = values[index].astype(np.float32).reshape(tuple(tensor.shape))
    with atomic_path(output) as temporary:
        temporary.write_bytes(save(tensors))
    return 0


def caffe_layer_name(module: str) -> str:
    """Name of the Caffe layer of a module of `MobileNetTeacher`: "depthwise.0" -> "conv1/dw"."""
    kind, _, number = module.partition(".")
    if not number:
        return kind
    return f"conv{int(number) + 1}" + ("/dw" if kind == "depthwise" else "")


if __name__ == "__main__":
    sys.exit(main())
