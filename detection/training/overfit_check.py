"""Overfit check: matching, loss and decoding fit together if a network overfits a few images from random weights.

    python -m detection.training.overfit_check --root VOCdevkit

Training uses no augmentation and the mAP is that of the training images, so it is no measure of accuracy.
"""

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from data.command_line import new_parser, positive_int, run
from data.commands.options import add_dataset_options
from data.datasets.records import Record
from data.datasets.registry import find_root, open_dataset
from data.errors import DatasetError
from data.images.image_io import read_image
from data.images.preprocess import preprocess
from data.inspection.verification import verify_dataset
from detection.evaluation.voc_ap import evaluate_voc
from detection.inference.nms import postprocess
from detection.models.inference_model import DetectionGraph
from detection.models.pelee import Pelee, PeleeConfig
from detection.training.loss import multibox_loss
from detection.training.targets import Target
from pelee.commands.options import add_hidden_alias
from pelee.training.allocator import tune_allocator

BATCH = 16


def load(records: Sequence[Record], size: int) -> tuple[torch.Tensor, list[Target], list[tuple[int, int]]]:
    """Images (N, size, size, 3) uint8, their targets, and the (width, height) of each image."""
    images, targets, shapes = [], [], []
    for record in records:
        image = read_image(record.image)
        height, width = image.shape[:2]
        boxes = record.boxes / np.array([width, height, width, height], np.float32)
        images.append(preprocess(image, size))
        targets.append(Target(torch.from_numpy(boxes), torch.from_numpy(record.labels)))
        shapes.append((width, height))
    return torch.from_numpy(np.stack(images)), targets, shapes


def overfit(records: Sequence[Record], class_names: Sequence[str], steps: int, size: int, seed: int = 0) -> float:
    """Train a new Pelee on `records` for `steps` batches of 16 and return its mAP (11-point, 0 to 1) on them."""
    torch.manual_seed(seed)
    tune_allocator()
    network = Pelee(PeleeConfig(num_classes=len(class_names), input_size=size)).to(memory_format=torch.channels_last)
    images, targets, shapes = load(records, size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    priors = network.priors()
    order = torch.randperm(len(records))
    start = time.monotonic()
    for step in range(steps):
        if (step * BATCH) % len(records) < BATCH:
            order = torch.randperm(len(records))
        chosen = [int(order[(step * BATCH + place) % len(records)]) for place in range(BATCH)]
        with torch.autocast("cpu", torch.bfloat16):
            logits, offsets = network(images[chosen].permute(0, 3, 1, 2))
        losses = multibox_loss(logits, offsets, [targets[index] for index in chosen], priors)
        loss = losses.classification + losses.localization
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 19:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - start:.0f} s", file=sys.stderr)

    graph = DetectionGraph(network.eval())
    with torch.inference_mode():
        found = [graph(part) for part in images.split(BATCH)]
    scores, boxes = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    predictions = [
        postprocess(scores[index], boxes[index], width=width, height=height)
        for index, (width, height) in enumerate(shapes)
    ]
    return evaluate_voc(predictions, records, class_names).map_11point


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check and return its exit code: 1 if the mAP is at most 90."""
    parser = new_parser(prog="python -m detection.training.overfit_check", description=(__doc__ or "").splitlines()[0])
    add_dataset_options(parser, default="voc")
    parser.add_argument("--split", default="2007-trainval", metavar="NAME", help="split of the dataset (%(default)s)")
    parser.add_argument("--num-images", type=positive_int, default=32, metavar="N", help="images (%(default)s)")
    add_hidden_alias(parser, "--pictures", dest="num_images", type=positive_int)
    parser.add_argument("--steps", type=positive_int, default=300, metavar="N", help="optimizer steps (%(default)s)")
    parser.add_argument(
        "--input-size", type=positive_int, default=304, metavar="PX", help="side of the network's input (%(default)s)"
    )
    options = parser.parse_args(argv)

    def body() -> int:
        dataset = verify_dataset(open_dataset(options.dataset, find_root(options.dataset, options.root), options.split))
        records = [record for record in dataset.records if (~record.difficult & ~record.crowd).any()]
        records = records[: options.num_images]
        if not records:
            raise DatasetError(f"split {options.split} has no image with an object to learn")
        score = 100 * overfit(records, dataset.class_names, options.steps, options.input_size)
        print(f"mAP on the {len(records)} training images: {score:.1f} (expected: over 90)")
        return 0 if score > 90 else 1

    return run(body)


if __name__ == "__main__":
    sys.exit(main())
