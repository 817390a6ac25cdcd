"""One of two processes that take gradients together: run by test_train.py, `ddp_process.py RANK FOLDER`."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from detection.models.pelee import Pelee, PeleeConfig
from detection.training.loss import multibox_loss
from detection.training.targets import Target
from pelee.models.peleenet import PeleeNetConfig

BACKBONE = PeleeNetConfig(blocks=(1, 1, 1, 1), growth_rate=8)
Boxes = list[list[float]]
NONE: Boxes = []
ONE: Boxes = [[0.1, 0.1, 0.6, 0.7]]
TWO: Boxes = [[0.3, 0.2, 0.5, 0.9], [0.0, 0.5, 0.4, 1.0]]
SPECK: Boxes = [[0.5, 0.5, 0.52, 0.52]]  # overlaps no prior by half: it takes one alone
#: The boxes of four pictures; the first process has the first two of them, the second the others.
CASES: dict[str, list[Boxes]] = {
    "objects on both": [ONE, TWO, TWO, ONE],
    "unlike numbers": [ONE, NONE, TWO, TWO],
    "one without objects": [NONE, NONE, ONE, TWO],
    "a single matched prior": [SPECK, NONE, NONE, NONE],
    "none at all": [NONE, NONE, NONE, NONE],
}


def make_network() -> Pelee:
    """A small network, always the same; in eval mode, since batch norm's statistics are each process's own."""
    torch.manual_seed(0)
    return Pelee(PeleeConfig(num_classes=3, input_size=96, backbone=BACKBONE)).eval()


def gradients(network: torch.nn.Module, priors: Tensor, boxes: list[Boxes], first: int) -> list[Tensor]:
    """The gradients of all parameters on these pictures, which are numbered from `first`."""
    images = torch.stack(
        [torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(first + i)) * 255 for i in range(len(boxes))]
    )
    targets = [Target(torch.tensor(own).reshape(-1, 4), torch.arange(len(own))) for own in boxes]
    network.zero_grad()
    logits, offsets = network(images)
    losses = multibox_loss(logits, offsets, targets, priors)
    (losses.classification + losses.localization).backward()
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def main(rank: int, folder: Path) -> None:
    """Take the gradients of every case as one of two processes; the first one saves them."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    network = make_network()
    priors = network.priors()
    wrapped = DistributedDataParallel(network)
    found = {
        name: gradients(wrapped, priors, boxes[2 * rank : 2 * rank + 2], 2 * rank) for name, boxes in CASES.items()
    }
    if rank == 0:
        torch.save(found, folder / "gradients.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
