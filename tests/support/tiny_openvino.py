"""An OpenVINO model of a few nodes, and images of its size."""

import hashlib
from pathlib import Path

import numpy as np

from pelee.runtime.openvino_session import import_openvino
from weights.card import Card
from weights.export_manifest import Export
from weights.store import ModelFile

SIZE = 8


def save_openvino(folder: Path, factor: float = 0.5, size: int = SIZE) -> ModelFile:
    """Save a model with a dynamic batch: the images times `factor`, and the sum of each."""
    openvino = import_openvino()
    ops = openvino.opset8
    images = ops.parameter([-1, size, size, 3], np.uint8, name="images")
    scaled = ops.multiply(ops.convert(images, np.float32), ops.constant(np.float32(factor)))
    total = ops.reduce_sum(scaled, np.array([1, 2, 3]), keep_dims=True)
    folder.mkdir()
    openvino.save_model(openvino.Model([scaled, total], [images]), folder / "model.xml", compress_to_fp16=False)
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.xml", "model.bin")}
    return ModelFile(
        Card("m", "detection", "x", ["a"], SIZE),
        folder / "model.xml",
        Export("openvino", "f32", False, SIZE, "", files),
    )


def random_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
