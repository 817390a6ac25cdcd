"""The authors' networks with random values, by the facts of their prototxt: as Caffe files and as a checkpoint.

One list of layers gives the text (`.prototxt`) and the weights (`.caffemodel`); it knows nothing of this project's
networks or their names.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.caffe_teacher import field as wire_field
from tests.support.caffe_teacher import varint

COCO_PERCENT = (7, 15, 33, 51, 69, 87, 105)
VOC_PERCENT = (10, 20, 37, 54, 71, 88, 105)
BLOCKS, WIDTHS = (3, 4, 8, 6), (16, 32, 64, 64)


@dataclass
class Layer:
    """A layer of a prototxt: its name, type, bottoms, top, parameters as text, and weights."""

    name: str
    kind: str
    bottoms: list[str]
    top: str
    parameters: str = ""
    blobs: list[np.ndarray] = field(default_factory=list)
    wire: bytes = b""  # the parameters that a .caffemodel repeats


def number(number: int, value: float) -> bytes:
    """A field of a 32-bit float."""
    return varint(number << 3 | 5) + struct.pack("<f", value)


def flag(number: int, value: int) -> bytes:
    """A field of a varint."""
    return varint(number << 3) + varint(value)


class CaffeNetwork:
    """Builder of the layers of Pelee or PeleeNet.

    Args:
        seed: of the random values.
        merged: convolutions with bias, in place of BatchNorm and Scale layers.
        eps: epsilon of the BatchNorm layers.
        size: side of the input, pixels.
    """

    def __init__(self, seed: int = 0, merged: bool = False, eps: float = 0.001, size: int = 304) -> None:
        self.rng = np.random.default_rng(seed)
        self.merged, self.eps, self.size = merged, eps, size
        self.layers: list[Layer] = []
        shape = wire_field(1, wire_field(1, b"".join(varint(side) for side in (1, 3, size, size))))
        text = f"input_param {{ shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }} }}"
        self.layers.append(Layer("data", "Input", [], "data", text, wire=wire_field(143, shape)))

    def add(self, *arguments: Any, **options: Any) -> str:
        self.layers.append(Layer(*arguments, **options))
        return self.layers[-1].top

    def conv(
        self, name: str, bottom: str, sides: tuple[int, int, int], stride: int = 1, relu: bool = True,
        norm: bool = True, pad: int | None = None, gain: float = 1.4,
    ) -> str:  # fmt: skip
        """A convolution of (inputs, outputs, kernel), batch norm unless `norm` is off, and ReLU."""
        inputs, outputs, kernel = sides
        pad = kernel // 2 if pad is None else pad
        weight = self.rng.normal(0, gain * (inputs * kernel * kernel) ** -0.5, (outputs, inputs, kernel, kernel))
        bias = self.rng.normal(0, 0.1, outputs)
        gamma, beta = self.rng.uniform(0.5, 1.5, outputs), self.rng.normal(0, 0.3, outputs)
        mean, variance, factor = self.rng.normal(0, 0.3, outputs), self.rng.uniform(0.3, 2.0, outputs), 0.9
        if norm and self.merged:
            scale = gamma / np.sqrt(variance + self.eps)
            weight, bias = weight * scale[:, None, None, None], beta - mean * scale
        with_bias = self.merged or not norm
        text = (
            f"convolution_param {{ num_output: {outputs} bias_term: {str(with_bias).lower()} pad: {pad} "
            f"kernel_size: {kernel} stride: {stride} }}"
        )
        self.add(name, "Convolution", [bottom], name, text, [weight, bias] if with_bias else [weight])
        if norm and not self.merged:
            blobs = [mean * factor, variance * factor, np.array([factor])]
            eps = wire_field(139, number(3, self.eps))
            self.add(f"{name}/bn", "BatchNorm", [name], name, f"batch_norm_param {{ eps: {self.eps} }}", blobs, eps)
            self.add(f"{name}/scale", "Scale", [name], name, "scale_param { bias_term: true }", [gamma, beta])
        if relu:
            self.add(f"{name}/relu", "ReLU", [name], name)
        return name

    def concat(self, name: str, bottoms: list[str], axis: int = 1) -> str:
        return self.add(name, "Concat", bottoms, name, f"concat_param {{ axis: {axis} }}")

    def pool(self, name: str, bottom: str, kind: str) -> str:
        return self.add(name, "Pooling", [bottom], name, f"pooling_param {{ pool: {kind} kernel_size: 2 stride: 2 }}")

    def features(self) -> "CaffeNetwork":
        """PeleeNet up to stage4_tb."""
        stem1 = self.conv("stem1", "data", (3, 32, 3), stride=2)
        stem2 = self.conv("stem2b", self.conv("stem2a", stem1, (32, 16, 1)), (16, 32, 3), stride=2)
        x = self.concat("stem/concat", [self.pool("stem/pool", stem1, "MAX"), stem2])
        x, channels = self.conv("stem3", x, (64, 32, 1)), 32
        for stage, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), start=1):
            for layer in range(1, count + 1):
                name = f"stage{stage}_{layer}"
                one = self.conv(f"{name}/branch1a", x, (channels, width, 1))
                one = self.conv(f"{name}/branch1b", one, (width, 16, 3))
                two = self.conv(f"{name}/branch2a", x, (channels, width, 1))
                two = self.conv(f"{name}/branch2b", two, (width, 16, 3))
                two = self.conv(f"{name}/branch2c", two, (16, 16, 3))
                x, channels = self.concat(f"{name}/concat", [x, one, two]), channels + 32
            x = self.conv(f"stage{stage}_tb", x, (channels, channels, 1))
            if stage < 4:
                x = self.pool(f"stage{stage}_tb/pool", x, "AVE")
        return self

    def classifier(self, classes: int = 1000, convolution: bool = False) -> "CaffeNetwork":
        """The head of PeleeNet: an inner product with bias, or a convolution without one."""
        text = "pooling_param { pool: AVE global_pooling: true }"
        self.add("global_pool", "Pooling", ["stage4_tb"], "global_pool", text)
        weight = self.rng.normal(0, 0.1, (classes, 704))
        if convolution:
            text = f"convolution_param {{ num_output: {classes} kernel_size: 1 bias_term: false }}"
            self.add("classifier", "Convolution", ["global_pool"], "classifier", text, [weight[:, :, None, None]])
        else:
            text, bias = f"inner_product_param {{ num_output: {classes} }}", self.rng.normal(0, 0.5, classes)
            self.add("classifier", "InnerProduct", ["global_pool"], "classifier", text, [weight, bias])
        self.add("prob", "Softmax", ["classifier"], "prob")
        return self

    def detector(
        self, classes: int = 20, percent: tuple[int, ...] = COCO_PERCENT, stated: bool = True
    ) -> "CaffeNetwork":
        """The layers of Pelee above the backbone; `stated`: the .caffemodel repeats the parameters of the priors."""
        x = self.conv("stage4_tb/relu/ext1/fe1_1", "stage4_tb", (704, 256, 1), norm=False)
        one = self.conv("ext1/fe1_2", x, (256, 256, 3), stride=2, norm=False)
        x = self.conv("ext1/fe2_1", one, (256, 128, 1), norm=False)
        two = self.conv("ext1/fe2_2", x, (128, 256, 3), pad=0, norm=False)
        x = self.conv("ext1/fe3_1", two, (256, 128, 1), norm=False)
        three = self.conv("ext1/fe3_2", x, (128, 256, 3), pad=0, norm=False)
        for index, (bottom, inputs) in enumerate(
            [("stage3_tb", 512), ("stage4_tb", 704), (one, 256), (two, 256), (three, 256)], start=2
        ):
            name = f"stage4_tb/ext/pm{index}"
            self.conv(name, bottom, (inputs, 256, 1), relu=False)
            x = self.conv(f"{name}/b2a", bottom, (inputs, 128, 1))
            x = self.conv(f"{name}/b2c", self.conv(f"{name}/b2b", x, (128, 128, 3)), (128, 256, 1), relu=False)
            self.add(f"{name}/res", "Eltwise", [name, x], f"{name}/res")
            self.add(f"{name}/res/relu", "ReLU", [f"{name}/res"], f"{name}/res")
        for index, source in enumerate((2, 2, 3, 4, 5, 6), start=1):
            self.head(index, f"stage4_tb/ext/pm{source}/res", classes, percent, stated)
        for part in ("loc", "conf"):
            self.concat(f"mbox_{part}", [f"ext/pm{index}_mbox_{part}_flat" for index in range(1, 7)])
        self.concat("mbox_priorbox", [f"ext/pm{index}_mbox_priorbox" for index in range(1, 7)], axis=2)
        shape = f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes + 1} }} }}"
        self.add("mbox_conf_reshape", "Reshape", ["mbox_conf"], "mbox_conf_reshape", shape)
        self.add(
            "mbox_conf_softmax", "Softmax", ["mbox_conf_reshape"], "mbox_conf_softmax", "softmax_param { axis: 2 }"
        )
        self.add(
            "mbox_conf_flatten", "Flatten", ["mbox_conf_softmax"], "mbox_conf_flatten", "flatten_param { axis: 1 }"
        )
        text = (
            f"detection_output_param {{ num_classes: {classes + 1} share_location: true background_label_id: 0 "
            "nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 200 "
            "confidence_threshold: 0.01 }"
        )
        bottoms = ["mbox_loc", "mbox_conf_flatten", "mbox_priorbox"]
        wire = wire_field(204, flag(1, classes + 1) + flag(2, 1) + flag(3, 0))
        self.add("detection_out", "DetectionOutput", bottoms, "detection_out", text, wire=wire)
        return self

    def head(self, index: int, bottom: str, classes: int, percent: tuple[int, ...], stated: bool) -> None:
        """The two predictions of a head and its priors."""
        # Offsets of a trained network are within a few units; larger ones make boxes of thousands of pixels.
        for part, outputs, gain in (("loc", 24, 0.1), ("conf", 6 * (classes + 1), 0.6)):
            name = f"ext/pm{index}_mbox_{part}"
            self.conv(name, bottom, (256, outputs, 1), relu=False, norm=False, gain=gain)
            self.add(f"{name}_perm", "Permute", [name], f"{name}_perm",
                     "permute_param { order: 0 order: 2 order: 3 order: 1 }")  # fmt: skip
            self.add(f"{name}_flat", "Flatten", [f"{name}_perm"], f"{name}_flat", "flatten_param { axis: 1 }")
        smallest, largest = (self.size * percent[at] / 100 for at in (index - 1, index))
        text = (
            f"prior_box_param {{ min_size: {smallest} max_size: {largest} aspect_ratio: 2 aspect_ratio: 3 flip: true "
            "clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 }"
        )
        wire = number(1, smallest) + number(2, largest) + number(3, 2) + number(3, 3) + flag(4, 1) + flag(5, 0)
        wire += b"".join(number(6, value) for value in (0.1, 0.1, 0.2, 0.2)) + number(13, 0.5)
        name = f"ext/pm{index}_mbox_priorbox"
        self.add(name, "PriorBox", [bottom, "data"], name, text, wire=wire_field(203, wire) if stated else b"")

    def caffemodel(self) -> bytes:
        """The weights file."""
        content = wire_field(1, b"pelee")
        for layer in self.layers:
            parts = [wire_field(1, layer.name.encode()), wire_field(2, layer.kind.encode())]
            parts += [wire_field(3, bottom.encode()) for bottom in layer.bottoms] + [wire_field(4, layer.top.encode())]
            for blob in layer.blobs:
                shape = wire_field(1, b"".join(varint(side) for side in blob.shape))
                parts.append(wire_field(7, wire_field(7, shape) + wire_field(5, blob.astype("<f4").tobytes())))
            content += wire_field(100, b"".join([*parts, layer.wire]))
        return content

    def prototxt(self) -> str:
        """The network as text."""
        lines = ['name: "pelee"']
        for layer in self.layers:
            bottoms = " ".join(f'bottom: "{bottom}"' for bottom in layer.bottoms)
            lines.append(
                f'layer {{ name: "{layer.name}" type: "{layer.kind}" {bottoms} top: "{layer.top}" {layer.parameters} }}'
            )
        return "\n".join(lines) + "\n"

    def save(self, path: Path) -> Path:
        """Write the weights file."""
        path.write_bytes(self.caffemodel())
        return path


def checkpoint(seed: int = 0, classes: int = 1000, prefix: str = "module.") -> dict[str, Any]:
    """A checkpoint of PeleeNet as the authors' training writes it, by their PyTorch names."""
    import torch

    network = CaffeNetwork(seed, eps=1e-5, size=224).features().classifier(classes)
    blobs = {layer.name: layer.blobs for layer in network.layers if layer.blobs}
    state: dict[str, torch.Tensor] = {}

    def unit(name: str, caffe: str) -> None:
        mean, variance, factor = blobs[f"{caffe}/bn"]
        gamma, beta = blobs[f"{caffe}/scale"]
        values = {"conv.weight": blobs[caffe][0], "norm.weight": gamma, "norm.bias": beta}
        if caffe == "stem1":
            values["conv.weight"] = blobs[caffe][0][:, ::-1].copy()  # Caffe's is BGR, PyTorch's RGB
        values |= {"norm.running_mean": mean / factor[0], "norm.running_var": variance / factor[0]}
        for key, value in values.items():
            state[f"{prefix}features.{name}.{key}"] = torch.from_numpy(value.astype(np.float32))
        state[f"{prefix}features.{name}.norm.num_batches_tracked"] = torch.tensor(7)

    for name in ("stem1", "stem2a", "stem2b", "stem3"):
        unit(f"stemblock.{name}", name)
    for stage, count in enumerate(BLOCKS, start=1):
        for layer in range(1, count + 1):
            for branch in ("branch1a", "branch1b", "branch2a", "branch2b", "branch2c"):
                unit(f"denseblock{stage}.denselayer{layer}.{branch}", f"stage{stage}_{layer}/{branch}")
        unit(f"transition{stage}", f"stage{stage}_tb")
    weight, bias = blobs["classifier"]
    state[f"{prefix}classifier.weight"] = torch.from_numpy(weight.astype(np.float32))
    state[f"{prefix}classifier.bias"] = torch.from_numpy(bias.astype(np.float32))
    return {"epoch": 120, "arch": "peleenet", "state_dict": state, "best_acc1": torch.tensor(72.08), "optimizer": {}}


def pattern(size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB image whose channels differ, the input of the stored reference results."""
    y, x = np.mgrid[:size, :size] * 255 // (size - 1)
    return np.stack([x, 255 - y, (x + y) // 2], axis=-1).astype(np.uint8)
