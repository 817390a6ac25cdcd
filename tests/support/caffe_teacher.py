"""Teacher weights with random values, as a Caffe file and as the converted state dict."""

from collections.abc import Iterator

import numpy as np

from detection.training.distillation import SEPARABLE


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def caffe_layer(name: str, *blobs: np.ndarray) -> bytes:
    """A layer in the format of caffe.proto, with other fields that a reader must skip."""
    parts = [field(1, name.encode()), field(2, b"Convolution"), varint(10 << 3) + varint(300)]
    for blob in blobs:
        shape = field(1, b"".join(varint(side) for side in blob.shape))
        parts.append(field(7, field(5, blob.astype("<f4").tobytes()) + field(7, shape)))
    return field(100, b"".join(parts))


def teacher_layers(seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, weight and bias of every convolution of the teacher in Caffe's names and shapes, with random values."""
    rng = np.random.default_rng(seed)

    def blobs(out: int, inputs: int, kernel: int) -> tuple[np.ndarray, np.ndarray]:
        scale = (inputs * kernel * kernel) ** -0.5
        weight = rng.normal(0, 1.4 * scale, (out, inputs, kernel, kernel)).astype(np.float32)
        return weight, rng.normal(0, 0.1, out).astype(np.float32)

    yield "conv0", *blobs(32, 3, 3)
    width = 32
    for number, (out, _) in enumerate(SEPARABLE, start=1):
        yield f"conv{number}/dw", *blobs(width, 1, 3)
        yield f"conv{number}", *blobs(out, width, 1)
        width = out


def teacher_tensors(seed: int) -> dict[str, np.ndarray]:
    """The same weights in the names of `MobileNetTeacher`."""
    tensors: dict[str, np.ndarray] = {}
    for name, weight, bias in teacher_layers(seed):
        number = int(name.removesuffix("/dw").removeprefix("conv"))
        kind = "depthwise" if name.endswith("/dw") else "pointwise"
        module = f"{kind}.{number - 1}" if number else "conv0"
        tensors |= {f"{module}.weight": weight, f"{module}.bias": bias}
    return tensors
