"""Caffe's weights file (`.caffemodel`): a `NetParameter` of caffe.proto in the protocol-buffers wire format.

Reads the layers with their names, types, blobs and raw parameters. Nothing in the file decides how much memory is used:
lengths are checked against the bytes that are there, shapes against the values, and values are views of the file.
Source of the field numbers: caffe.proto of BVLC's Caffe, and of its SSD branch for `PriorBoxParameter`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import WeightsError

MAX_BYTES = 1 << 30  # the largest published networks of Caffe have half of it
MAX_FIELDS = 100_000  # of one message; a network has some hundred layers
# Field numbers of NetParameter, LayerParameter, BlobProto and BlobShape.
OLD_LAYERS, LAYERS = 2, 100
NAME, TYPE, BLOBS = 1, 2, 7
LEGACY_SHAPE, FLOATS, SHAPE, DOUBLES = (1, 2, 3, 4), 5, 7, 8
DIMENSIONS = 1

Value = int | memoryview
Message = dict[int, list[Value]]
"""Fields of a message by number: a varint as an int, every other one as its bytes."""


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of a network.

    Attributes:
        name: its name in the network.
        kind: its type, such as "Convolution".
        blobs: its weights, float32, read-only.
        message: all fields of its `LayerParameter`, for `parameters`.
    """

    name: str
    kind: str
    blobs: tuple[np.ndarray, ...]
    message: Message

    def parameters(self, number: int) -> Message | None:
        """Fields of the layer's own parameters, a message of this field number; None if the layer has none.

        Raises:
            ValueError: the field holds no message.
        """
        found = self.message.get(number)
        return parse(as_bytes(found[-1])) if found else None


def read_caffemodel(path: Path) -> dict[str, CaffeLayer]:
    """Layers of a `.caffemodel` by name, in their order.

    Raises:
        WeightsError: no such file, or not that format; one line.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file, expected a .caffemodel")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise WeightsError(f"{path}: is {size:,} bytes, expected a .caffemodel of at most {MAX_BYTES:,}")
    content = path.read_bytes()
    if _is_text(content):
        raise WeightsError(f"{path}: is text, such as a prototxt with a network's layers; expected its .caffemodel")
    try:
        return parse_network(content)
    except ValueError as error:
        raise WeightsError(f"{path}: is not a .caffemodel ({error})") from None


def parse_network(content: bytes) -> dict[str, CaffeLayer]:
    """Layers of a serialized `NetParameter` by name. Raises ValueError for other bytes."""
    network = parse(memoryview(content))
    if LAYERS not in network:
        if OLD_LAYERS in network:
            raise ValueError("its layers are in the format before 2014; Caffe's upgrade_net_proto_binary converts it")
        raise ValueError("no layers")
    layers: dict[str, CaffeLayer] = {}
    for field in network[LAYERS]:
        message = parse(as_bytes(field))
        name = _text(message, NAME)
        blobs = tuple(_blob(parse(as_bytes(blob)), name) for blob in message.get(BLOBS, []))
        if name in layers and layers[name].blobs and blobs:
            raise ValueError(f"two layers {name} with weights")
        if name not in layers or blobs:
            layers[name] = CaffeLayer(name, _text(message, TYPE), blobs, message)
    return layers


def parse(message: memoryview) -> Message:
    """Fields of a protocol-buffers message by number. Raises ValueError for other bytes."""
    fields: Message = {}
    for count, (number, value) in enumerate(_fields(message)):
        if count >= MAX_FIELDS:
            raise ValueError(f"more than {MAX_FIELDS:,} fields in one message")
        fields.setdefault(number, []).append(value)
    return fields


def as_bytes(value: Value) -> memoryview:
    """Bytes of a field; ValueError for a varint."""
    if isinstance(value, int):
        raise ValueError("a number where a message or values are expected")
    return value


def floats(message: Message, number: int) -> list[float]:
    """Values of a field of 32-bit floats, packed or not. Raises ValueError for another type."""
    return [float(value) for field in message.get(number, []) for value in _array(as_bytes(field), "<f4")]


def integers(message: Message, number: int) -> list[int]:
    """Values of a field of varints (integers, booleans, enumerations), packed or not."""
    found: list[int] = []
    for field in message.get(number, []):
        if isinstance(field, int):
            found.append(field)
        else:
            at = 0
            while at < len(field):
                value, at = _varint(field, at)
                found.append(value)
    return found


def _blob(message: Message, layer: str) -> np.ndarray:
    """Values of a `BlobProto` in their shape, float32."""
    parts = [_array(as_bytes(field), "<f4") for field in message.get(FLOATS, [])]
    parts += [_array(as_bytes(field), "<f8").astype("<f4") for field in message.get(DOUBLES, [])]
    if len(parts) != 1:
        raise ValueError(f"{len(parts)} arrays of values in a blob of layer {layer}, expected one")
    (values,) = parts
    shape = [values.size]
    if SHAPE in message:
        shape = integers(parse(as_bytes(message[SHAPE][-1])), DIMENSIONS)
    elif any(number in message for number in LEGACY_SHAPE):
        shape = [(integers(message, number) or [0])[-1] for number in LEGACY_SHAPE]
    if math.prod(shape) != values.size or len(shape) > 8:
        shown = "×".join(map(str, shape[:8]))
        raise ValueError(f"a blob of layer {layer} has {values.size:,} values for the shape {shown}")
    return values.reshape(shape)


def _fields(view: memoryview) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field of number 0")
        if wire_type == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        elif wire_type == 2:
            length, at = _varint(view, at)
        else:
            raise ValueError(f"a field of wire type {wire_type}")
        if length > len(view) - at:
            raise ValueError(f"cut short: a field of {length:,} bytes where {len(view) - at:,} are left")
        yield number, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A variable-length integer and the offset after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError("cut short in a number")
        value |= (view[at] & 0x7F) << shift
        at += 1
        if view[at - 1] < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _array(content: memoryview, dtype: str) -> np.ndarray:
    if len(content) % np.dtype(dtype).itemsize:
        raise ValueError(f"{len(content):,} bytes of values, no whole number of them")
    return np.frombuffer(content, dtype)


def _text(message: Message, number: int) -> str:
    found = message.get(number)
    return bytes(as_bytes(found[-1])).decode() if found else ""


def _is_text(content: bytes) -> bool:
    start = content[:4096].lstrip()
    return bool(start) and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)
