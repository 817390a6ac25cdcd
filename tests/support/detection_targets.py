"""Detection targets of tests: objects on a row of priors, and random batches."""

import torch
from torch import Tensor
from torchvision.ops import box_convert

from detection.models.priors import VOC_SIZES, generate_priors, ssd_maps
from detection.training.targets import Target

# Five priors in a row, 0.2 wide and high, side by side: no two overlap.
ROW = torch.tensor([[0.1 + 0.2 * i, 0.5, 0.2, 0.2] for i in range(5)])
NOTHING = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def target(boxes: list[list[float]], labels: list[int]) -> Target:
    """Boxes given as cxcywh."""
    return Target(box_convert(torch.tensor(boxes), "cxcywh", "xyxy"), torch.tensor(labels))


def on_prior(index: int, label: int = 0) -> Target:
    return target([ROW[index].tolist()], [label])


#: Prior maps of `random_batch`: those of a 64×64 input.
MAPS = ssd_maps((4, 4, 2, 1, 1, 1), VOC_SIZES)


def random_batch(seed: int, classes: int = 4) -> tuple[Tensor, Tensor, list[Target], Tensor]:
    """Four images with 3, 0, 1 and 5 objects over the priors of 64×64."""
    generator = torch.Generator().manual_seed(seed)
    priors = generate_priors(MAPS)
    targets = []
    for count in (3, 0, 1, 5):
        corner = torch.rand(count, 2, generator=generator) * 0.6
        boxes = torch.cat([corner, corner + 0.1 + 0.3 * torch.rand(count, 2, generator=generator)], 1)
        targets.append(Target(boxes, torch.randint(0, classes, (count,), generator=generator)))
    logits = 3 * torch.randn(4, len(priors), classes + 1, generator=generator)
    return logits, torch.randn(4, len(priors), 4, generator=generator), targets, priors
