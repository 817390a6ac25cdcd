"""Weights of a Caffe network, taken by layer into `pelee.models.layers.ConvUnit`s and convolutions, and checked."""

from pathlib import Path

import numpy as np
from torch import nn

from data.errors import WeightsError
from pelee.importing.caffemodel import CaffeLayer, floats, read_caffemodel
from pelee.models.layers import ConvUnit

BATCH_NORM_PARAMETERS, EPS = 139, 3  # field of LayerParameter, field of BatchNormParameter
DEFAULT_EPS = 1e-5  # Caffe's, of a BatchNorm layer without it


class CaffeWeights:
    """Layers of a `.caffemodel`, each taken once; `check_all_taken` refuses what is left.

    Tensors are keyed as in the module's state dict. A shape that differs from the module's raises WeightsError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layers = read_caffemodel(path)
        self._taken: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the network has a layer of this name with weights."""
        return name in self.layers and bool(self.layers[name].blobs)

    def convolution(self, name: str, module: nn.Conv2d | nn.Linear) -> dict[str, np.ndarray]:
        """Weight and bias of a convolution or an inner product; a missing bias is 0 where the module has one."""
        weight, bias = self._convolution(name, tuple(module.weight.shape))
        return {"weight": weight, "bias": bias}

    def unit(self, name: str, module: ConvUnit) -> dict[str, np.ndarray]:
        """Tensors of a convolution with batch norm, from a merged (bias) or an unmerged layer (BatchNorm, Scale).

        A merged one becomes a batch norm that adds the bias alone. An unmerged one keeps its statistics; its weight
        accounts for Caffe's epsilon where it is another than the module's, so that the result is the same.
        """
        conv, norm = module[0], module[1]
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        weight, bias = self._convolution(name, tuple(conv.weight.shape))
        channels = len(bias)
        mean, variance = np.zeros(channels), np.full(channels, 1 - norm.eps)
        gamma, beta = np.ones(channels), bias.astype(np.float64)
        if self.has(f"{name}/bn"):
            mean, variance, eps = self._statistics(f"{name}/bn", channels)
            gamma, beta = self._scale(f"{name}/scale", channels) if self.has(f"{name}/scale") else (gamma, 0 * beta)
            gamma = gamma * np.sqrt((variance + norm.eps) / (variance + eps))
            mean = mean - bias
        tensors = {"1.weight": gamma, "1.bias": beta, "1.running_mean": mean, "1.running_var": variance}
        found = {key: values.astype(np.float32) for key, values in tensors.items()}
        return {"0.weight": weight, **found, "1.num_batches_tracked": np.array(0, np.int64)}

    def check_all_taken(self) -> None:
        """Raise WeightsError if the file has weights of a layer that the network lacks."""
        for name, layer in self.layers.items():
            if layer.blobs and name not in self._taken:
                raise WeightsError(f"{self.path}: has weights of a layer {name}, which this project's network lacks")

    def layer(self, name: str) -> CaffeLayer:
        """Take a layer with weights; WeightsError if there is none."""
        if not self.has(name):
            raise WeightsError(f"{self.path}: has no weights of the layer {name}; it is another network or incomplete")
        self._taken.add(name)
        return self.layers[name]

    def _convolution(self, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        blobs = self.layer(name).blobs
        self._expect(name, blobs[0], shape)
        if len(blobs) > 1:
            self._expect(name, blobs[1], shape[:1])
        bias = blobs[1].reshape(shape[0]) if len(blobs) > 1 else np.zeros(shape[0], np.float32)
        return np.array(blobs[0].reshape(shape), np.float32), np.array(bias, np.float32)

    def _statistics(self, name: str, channels: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Mean, variance and epsilon of a BatchNorm layer, whose blobs are sums and, in the third, their factor."""
        layer = self.layer(name)
        if len(layer.blobs) != 3:
            raise WeightsError(f"{self.path}: layer {name} has {len(layer.blobs)} blobs, expected 3 of a BatchNorm")
        for blob, size in zip(layer.blobs, (channels, channels, 1), strict=True):
            self._expect(name, blob, (size,))
        factor = float(layer.blobs[2].reshape(-1)[0])
        mean, variance = (np.array(blob, np.float64).reshape(-1) / (factor or 1.0) for blob in layer.blobs[:2])
        if variance.min() < 0:
            raise WeightsError(f"{self.path}: layer {name} has a negative variance; the file is damaged")
        try:
            eps = floats(layer.parameters(BATCH_NORM_PARAMETERS) or {}, EPS)
        except ValueError as error:
            raise WeightsError(f"{self.path}: layer {name} is damaged ({error})") from None
        return mean, variance, eps[-1] if eps else DEFAULT_EPS

    def _scale(self, name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Factor and bias of a Scale layer."""
        blobs = self.layer(name).blobs
        for blob in blobs[:2]:
            self._expect(name, blob, (channels,))
        factor, *bias = (np.array(blob, np.float64).reshape(-1) for blob in blobs[:2])
        return factor, bias[0] if bias else np.zeros(channels)

    def _expect(self, name: str, blob: np.ndarray, shape: tuple[int, ...]) -> None:
        """Raise WeightsError for another shape, besides sides of 1 before and after it, or values that are not finite.

        Old files have four sides for all, (1, 1, 1, N) for a bias and (1, 1, N, M) for an inner product.
        """
        found, wanted = ([side for side in sides if side != 1] for sides in (blob.shape, shape))
        if found != wanted:
            shown, expected = ("×".join(map(str, sides)) or "1" for sides in (blob.shape, shape))
            raise WeightsError(f"{self.path}: layer {name} has the shape {shown}, expected {expected}")
        if not np.isfinite(blob).all():
            raise WeightsError(f"{self.path}: layer {name} holds NaN or infinity; the file is damaged")
