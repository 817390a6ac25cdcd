"""`pelee-train`: train or fine-tune the detector."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.command_line import first_few, new_parser, run
from data.commands.options import add_dataset_options
from pelee.commands.options import add_training_options, train_command
from pelee.training.allocator import tune_allocator

if TYPE_CHECKING:
    from detection.training.settings import TrainSettings


EPILOG = """\
every setting of a recipe is also a flag that overrides it: --epochs 20 --lr 0.01 --val-split 2007-minival
  (pelee-train --recipe quick --print-settings lists them all)

examples:
  pelee-train --dataset voc --root VOCdevkit --recipe quick --output runs/voc
  pelee-train --dataset yolo --root my-data --weights pelee-voc --epochs 30 --output runs/mine    fine-tunes
  pelee-train --dataset voc --root VOCdevkit --recipe quick --output runs/voc --resume
  pelee-train --model ssdlite-mobilenetv2 --backbone mobilenet_v2.pth --dataset voc --root VOCdevkit --output runs/peer

exit codes: 0 done, 2 an error, told in one line; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's own flags; the settings' are read by `pelee.training.recipes.parse_overrides`."""
    parser = new_parser(
        prog="pelee-train",
        description="Train Pelee or its peer on pictures with boxes: from scratch, from a backbone or from a detector.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add_dataset_options(parser, required=False)
    parser.add_argument("--recipe", help="a shipped recipe (modern, paper-coco, paper-voc, quick) or a YAML file")
    parser.add_argument("--output", type=Path, default=Path("runs/train"), help="checkpoints, logs and the model")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--weights", help="start from a detector: a shipped name or a model folder")
    start.add_argument(
        "--backbone",
        help="start the backbone from a classifier (PeleeNet; MobileNetV2 for the peer): a shipped name, a model's "
        "folder or torchvision's state dict (.pth)",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="FILE",
        help="imitate the maps of the Caffe MobileNet-SSD in this .caffemodel, too",
    )
    add_training_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-train`; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, words = build_parser().parse_known_args(arguments)
    return run(lambda: _main(options, words, arguments))


def _main(options: argparse.Namespace, words: Sequence[str], arguments: Sequence[str]) -> int:
    tune_allocator()  # before torch is there
    from detection.training.settings import resolve_settings

    return train_command("pelee-train", options, words, arguments, resolve_settings, _train)


def _train(options: argparse.Namespace, settings: "TrainSettings", command: str) -> int:
    import torch

    from data.datasets.registry import open_dataset
    from detection.evaluation.f1_threshold import best_f1
    from detection.models.loading import to_config
    from detection.models.registry import build
    from detection.training.distillation import load_teacher
    from detection.training.loss import init_heads
    from detection.training.model_card import check_design, make_card
    from detection.training.train import train
    from pelee.models.pretrained import start_from
    from pelee.runs.run import record_run
    from pelee.training.provenance import current_commit
    from pelee.training.recipes import to_plain
    from pelee.training.trainer import to_tensors
    from weights.store import resolve, save_model

    train_set, val_set = (
        open_dataset(options.dataset, options.root, split) for split in (settings.train_split, settings.val_split)
    )
    for dataset in (train_set, val_set):
        print(f"{dataset.name} {dataset.split}: {len(dataset.records)} pictures, {len(dataset.class_names)} classes")
        for warning in first_few(dataset.warnings, "pelee-data check lists them all"):
            print(f"  note: {warning}")

    commit = current_commit()  # of what runs now, whatever becomes of the files in the hours to come
    torch.manual_seed(settings.seed)
    network = build(settings.network(len(train_set.class_names)))
    init_heads(network.heads, settings)
    start = None
    if options.weights:
        model = resolve(options.weights)
        check_design(network.config, to_config(model), model.card.name)
        start, _ = start_from(network, options.weights)
    elif options.backbone:
        start, _ = start_from(network.backbone, options.backbone)

    with record_run(
        options.output,
        command=command,
        model=settings.model,
        dataset=f"{train_set.name} {train_set.split}",
        settings=to_plain(settings),
        started_from=start,
    ):
        trained = train(
            network,
            settings,
            train_set,
            val_set,
            options.output,
            teacher=load_teacher(options.teacher) if options.teacher else None,
            resume=options.resume,
            devices=options.devices,
            accelerator=options.accelerator,
        )
    if trained.global_rank:
        return 0  # one process writes the model
    name = options.name or options.output.resolve().name
    card = make_card(name, network.config, train_set, to_plain(settings), command=command, commit=commit, start=start)
    score = round(100 * trained.best_score, 2)
    pictures = len(val_set.records)
    card.scores.append(
        {"metric": "mAP 11-point", "value": score, "split": val_set.split, "command": command, "pictures": pictures}
    )
    assert trained.result is not None
    best = best_f1(trained.result)
    if best.f1 > 0:
        card = replace(card, default_confidence=best.confidence)
    saved = save_model(options.output / "model", to_tensors(trained.network), card)
    print(f"model: {saved.path.parent}, mAP {score} on {val_set.split} ({pictures} pictures)")
    print(f"shows what scores {card.default_confidence} or more, where F1 there was {best.f1:.2f}, the mean of classes")
    print(f"try it: pelee-detect PICTURE --weights {saved.path.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
