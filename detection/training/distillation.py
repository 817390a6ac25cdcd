"""Feature distillation (FitNets) from a MobileNet-SSD teacher to the backbone.

FitNets (Romero et al., 2015, section 2.2) with teacher maps standardized per channel: 1×1 convolutions, dropped after
training, regress the teacher's 19×19 and 10×10 maps from those of the student. All cells of all images give a training
signal, unlike box annotations.

The teacher is the Caffe MobileNet-SSD (MobileNetV1 with SSD, pretrained on COCO, fine-tuned on VOC07+12 trainval). Its
maps of stride 16 and 32 have the sizes of the student's. `detection.commands.convert_teacher` converts its weights.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import WeightsError

# Separable convolutions conv1 to conv13 of MobileNetV1: output channels and stride.
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
TEACHER_LAYERS = (11, 13)  # outputs of stride 16 and 32, the inputs of the first two SSD heads
CONVERTER = "python -m detection.commands.convert_teacher"
MEAN, SCALE = 127.5, 0.007843


class MobileNetTeacher(nn.Module):
    """MobileNetV1 up to conv13 with folded batch norms: (N, 3, H, W) RGB in 0 to 255 -> maps of stride 16 and 32.

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
        x = (images.flip(1).to(self.conv0.weight.dtype) - MEAN) * SCALE  # trained on BGR
        x = torch.relu(self.conv0(x))
        maps = []
        for number, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True), start=1):
            x = torch.relu(pointwise(torch.relu(depthwise(x))))
            if number in TEACHER_LAYERS:
                maps.append(x)
        return maps


def load_teacher(file: Path) -> MobileNetTeacher:
    """Teacher with the weights of a converted file (`detection.commands.convert_teacher`), in eval mode.

    Raises:
        WeightsError: no such file, a Caffe model that is not converted, or weights of another network.
    """
    if file.suffix == ".caffemodel":
        raise WeightsError(
            f"{file}: is a Caffe model; convert it once with "
            f"`{CONVERTER} {file} {file.with_suffix('.safetensors')}` and give the result"
        )
    network = MobileNetTeacher()
    try:
        network.load_state_dict(load_file(file))
    except FileNotFoundError:
        raise WeightsError(f"{file}: no such file, expected a teacher written by `{CONVERTER}`") from None
    except (OSError, SafetensorError, RuntimeError):
        raise WeightsError(f"{file}: is no teacher, expected the file written by `{CONVERTER}`") from None
    return network.eval().requires_grad_(False)


class FeatureDistillationLoss(nn.Module):
    """Feature distillation loss, with 1×1 convolutions from the student's maps to the teacher's.

    Args:
        student, teacher: channels of the maps of each.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in zip(student, teacher, strict=True))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Mean squared error against the standardized maps over all cells and channels: about 1 for a constant output.

        Args:
            student, teacher: (N, C, H, W) maps, pairwise of equal height and width.
        """
        losses = []
        for adapter, student_map, teacher_map in zip(self.adapters, student, teacher, strict=True):
            target = teacher_map.float()
            std, mean = torch.std_mean(target, (0, 2, 3), keepdim=True)
            losses.append(F.mse_loss(adapter(student_map).float(), (target - mean) / (std + 1e-5)))
        return torch.stack(losses).mean()
