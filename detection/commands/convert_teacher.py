"""Converter of the Caffe MobileNet-SSD into the safetensors file that `pelee-train --teacher` reads.

Run once: `python -m detection.commands.convert_teacher MobileNetSSD_deploy.caffemodel teacher.safetensors`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.atomic_files import atomic_path
from data.command_line import new_parser, run
from data.errors import WeightsError

LAYERS_FIELD, NAME_FIELD, BLOBS_FIELD, DATA_FIELD = 100, 1, 7, 5  # field numbers in caffe.proto


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

    try:
        blobs = caffe_blobs(caffemodel.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{caffemodel}: no such file, expected the Caffe MobileNet-SSD's .caffemodel") from None
    except (IndexError, ValueError) as error:
        raise WeightsError(f"{caffemodel}: is not a .caffemodel ({error})") from None
    tensors = {}
    for name, tensor in MobileNetTeacher().state_dict().items():
        layer, _, kind = name.rpartition(".")
        caffe_name = caffe_layer_name(layer)
        values = blobs.get(caffe_name, [])
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


def caffe_blobs(content: bytes) -> dict[str, list[np.ndarray]]:
    """Blobs of each layer, flat float32, of a serialized caffe.proto `NetParameter`.

    Reads only the layers, their names and blobs, and the blobs' data (packed floats).

    Raises:
        ValueError, IndexError: not that format.
    """
    layers = {}
    for layer in _fields(content, LAYERS_FIELD):
        (name,) = _fields(layer, NAME_FIELD)
        blobs = [np.frombuffer(next(_fields(blob, DATA_FIELD)), "<f4") for blob in _fields(layer, BLOBS_FIELD)]
        layers[bytes(name).decode()] = blobs
    return layers


def _fields(message: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """Length-delimited fields of one field number in a protocol-buffers message."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            _, at = _varint(view, at)
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        elif wire_type == 2:
            length, at = _varint(view, at)
            if at + length > len(view):
                raise ValueError("cut short")
            if number == wanted:
                yield view[at : at + length]
            at += length
        else:
            raise ValueError(f"a field of wire type {wire_type}")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A variable-length integer and the offset after it."""
    value = shift = 0
    while True:
        value |= (view[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if view[at - 1] < 0x80:
            return value, at


if __name__ == "__main__":
    sys.exit(main())
