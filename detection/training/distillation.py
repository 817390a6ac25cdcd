"""A teacher for the detector's backbone: another detector's feature maps, which the student learns to tell.

FitNets (Romero et al., 2015, section 2.2) with the teacher's maps standardised channel by channel: 1×1 convolutions,
dropped afterwards, turn the student's 19×19 and 10×10 maps into the teacher's. Every cell of every picture teaches,
where boxes alone say little about most of them.

The teacher is the Caffe MobileNet-SSD (MobileNetV1 under SSD, pretrained on COCO, fine-tuned on VOC07+12 trainval),
whose maps of stride 16 and 32 have the student's sizes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import WeightsError
from detection.training.caffe_weights import caffe_blobs

# MobileNetV1's separable convolutions conv1 to conv13: output channels and stride.
SEPARABLE = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
TEACHER_LAYERS = (11, 13)  # the maps of stride 16 and 32, which that detector's first two heads look at
CENTRE, SCALE = 127.5, 0.007843


class MobileNetTeacher(nn.Module):
    """MobileNetV1 up to conv13, batch norm merged: (N, 3, H, W) RGB in 0 to 255 -> maps of stride 16 and 32.

    (N, 512, H/16, W/16) and (N, 1024, H/32, W/32), rounded up, after their ReLUs.
    """

    channels = (512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 32, 3, 2, 1)
        self.depthwise, self.pointwise = nn.ModuleList(), nn.ModuleList()
        width = 32
        for out, stride in SEPARABLE:
            self.depthwise.append(nn.Conv2d(width, width, 3, stride, 1, groups=width))
            self.pointwise.append(nn.Conv2d(width, out, 1))
            width = out

    def forward(self, images: Tensor) -> list[Tensor]:
        x = (images.flip(1).to(self.conv0.weight.dtype) - CENTRE) * SCALE  # trained on BGR
        x = torch.relu(self.conv0(x))
        maps = []
        for number, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True), start=1):
            x = torch.relu(pointwise(torch.relu(depthwise(x))))
            if number in TEACHER_LAYERS:
                maps.append(x)
        return maps


def load_teacher(file: Path) -> MobileNetTeacher:
    """The teacher with the weights of a `.caffemodel`, in eval mode.

    Raises:
        WeightsError: no such file, or not that network's weights.
    """
    try:
        blobs = caffe_blobs(file.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{file}: no such file, expected the Caffe MobileNet-SSD's .caffemodel") from None
    except (IndexError, ValueError) as error:
        raise WeightsError(f"{file}: is no .caffemodel ({error})") from None
    network = MobileNetTeacher()
    names: dict[str, Any] = {"conv0": network.conv0}
    for number, (depthwise, pointwise) in enumerate(zip(network.depthwise, network.pointwise, strict=True), start=1):
        names |= {f"conv{number}/dw": depthwise, f"conv{number}": pointwise}
    for name, layer in names.items():
        values = blobs.get(name, [])
        if [blob.size for blob in values] != [layer.weight.numel(), len(layer.bias)]:
            raise WeightsError(f"{file}: has no layer {name} of the Caffe MobileNet-SSD's shape")
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(values[0]).view_as(layer.weight))
            layer.bias.copy_(torch.tensor(values[1]))
    return network.eval().requires_grad_(False)


class FeatureDistillationLoss(nn.Module):
    """The 1×1 convolutions that turn a student's maps into its teacher's, and the distance that is left.

    Args:
        student: channels of the student's maps; teacher: of the teacher's.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in zip(student, teacher, strict=True))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The mean squared error against the standardised maps, over all cells and channels: about 1 for no idea.

        Args:
            student, teacher: (N, C, H, W) maps, pairwise of one size.
        """
        losses = []
        for adapter, own, wanted in zip(self.adapters, student, teacher, strict=True):
            wanted = wanted.float()
            spread, mean = torch.std_mean(wanted, (0, 2, 3), keepdim=True)
            losses.append(F.mse_loss(adapter(own).float(), (wanted - mean) / (spread + 1e-5)))
        return torch.stack(losses).mean()
