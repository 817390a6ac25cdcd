"""Weights of a Caffe model file."""

from collections.abc import Iterator

import numpy as np


def caffe_blobs(content: bytes) -> dict[str, list[np.ndarray]]:
    """Each layer's blobs, flat float32, of a serialised caffe.proto `NetParameter`.

    Only its layers (field 100), their names (1) and blobs (7), and those's data (5, packed floats) are read.

    Raises:
        ValueError, IndexError: not that format.
    """
    layers = {}
    for layer in _fields(content, 100):
        (name,) = _fields(layer, 1)
        blobs = [np.frombuffer(next(_fields(blob, 5)), "<f4") for blob in _fields(layer, 7)]
        layers[bytes(name).decode()] = blobs
    return layers


def _fields(message: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """The length-delimited fields of one number in a protocol-buffers message."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, at = _varint(view, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _varint(view, at)
            if at + length > len(view):
                raise ValueError("cut short")
            if number == wanted:
                yield view[at : at + length]
            at += length
        else:
            raise ValueError(f"a field of wire type {kind}")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A variable-length integer, and where the next thing begins."""
    value = shift = 0
    while True:
        value |= (view[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if view[at - 1] < 0x80:
            return value, at
