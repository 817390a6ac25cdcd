"""`pelee-train-classifier`: train or fine-tune a classification network."""

import argparse
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.classification.layouts import LAYOUTS
from data.command_line import new_parser
from data.errors import ImageError
from pelee.classification.training.settings import RECIPES, ClassifierSettings, resolve_settings
from pelee.commands.training_command import (
    TrainedModel,
    TrainingJob,
    TrainingTask,
    add_training_options,
    training_command,
)

if TYPE_CHECKING:
    from torch import nn

    from data.classification.image_folder import ImageFolderDataset
    from pelee.classification.training.dataset import ImageBatches


DEFAULT_RECIPE = "quick"
EPILOG = """\
A recipe sets the settings above; a flag overrides the recipe. Values in parentheses hold for what a recipe leaves out.
--print-settings prints the result.

examples:
  pelee-train-classifier --model peleenet --dataset tiny-imagenet --root tiny-imagenet --recipe quick --output runs/tiny
  pelee-train-classifier --dataset imagefolder --root my-photos --weights peleenet-tiny-imagenet --output runs/mine
  pelee-train-classifier --dataset cifar10 --root cifar10 --weights peleenet-tiny-imagenet --freeze --output runs/a
  pelee-train-classifier --dataset cifar10 --root cifar10 --weights runs/a/model --pretrained-lr 0.1 --output runs/b
  pelee-train-classifier --dataset cifar10 --root cifar10 --teacher mobilenet_v2.pth --output runs/taught

exit codes: 0 done, 1 done, but images could not be read and were left out, 2 an error, in one line; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser(
        prog="pelee-train-classifier",
        description="Train a classification network on a folder of images for each class.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--model", default="peleenet", help="name of the network, see pelee-models (%(default)s)")
    parser.add_argument("--dataset", choices=tuple(LAYOUTS), help="layout of the data under --root")
    parser.add_argument("--root", type=Path, help="the dataset's folder, which contains SPLIT/CLASS/IMAGE")
    parser.add_argument(
        "--weights",
        metavar="MODEL",
        help="start from a classifier: a shipped name, a model folder, or a state dict (.pth) of torchvision's or "
        "timm's network; a head of other classes starts anew",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="FILE",
        help="also learn from a teacher: the state dict of the torchvision classifier named by --teacher-model",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="decode all images first, and refuse a dataset with one that cannot be read",
    )
    add_training_options(parser, ClassifierSettings, RECIPES, "runs/classifier", DEFAULT_RECIPE)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-train-classifier` and return its exit code."""
    return training_command(TASK, argv)


def align_labels(split: "ImageFolderDataset", class_names: tuple[str, ...]) -> "ImageFolderDataset":
    """Relabel a split by name to the training split's classes, some of which it may lack; otherwise unchanged."""
    import numpy as np

    if not set(split.class_names) <= set(class_names):
        return split
    labels = np.array([class_names.index(name) for name in split.class_names], np.int64)
    return replace(split, class_names=class_names, labels=labels[split.labels])


def _open_data(options: argparse.Namespace, settings: ClassifierSettings) -> "list[ImageFolderDataset]":
    from data.classification.image_folder import open_image_folder
    from data.classification.object_crop import ObjectCrop
    from data.datasets.class_names import match_classes
    from data.inspection.verification import unreadable_note, verify_image_folder
    from data.progress_bar import progress_bar
    from weights.store import resolve

    if options.weights and not options.weights.endswith(".pth"):
        resolve(options.weights)
    splits = []
    for name in (settings.train_split, settings.val_split):
        split = open_image_folder(options.dataset, options.root, name, ObjectCrop.of(vars(settings)))
        with progress_bar(f"reading {split.split}", len(split)) as advance:
            splits.append(verify_image_folder(split, strict=options.strict, decode=options.strict, progress=advance))
    match = match_classes(splits[1].class_names, splits[0].class_names)
    splits[1] = align_labels(splits[1], splits[0].class_names)
    for split in splits:
        print(f"{split.name} {split.split}: {len(split)} images, {len(split.class_names)} classes")
        for line in unreadable_note(split.unreadable, "see the folders for the rest"):
            print(f"  {line}")
    for line in match.lines(splits[1].split, splits[0].split):
        print(f"  note: {line}")
    return splits


def _prepare(
    options: argparse.Namespace, settings: ClassifierSettings, splits: "list[ImageFolderDataset]"
) -> TrainingJob:
    from pelee.classification.training.dataset import ImageBatches
    from pelee.classification.training.normalization import network_settings
    from pelee.models.pretrained import ClassRows, is_state_dict, last_layer, load_pretrained
    from pelee.models.registry import build
    from weights.store import resolve

    train_set, val_set = (ImageBatches(split, settings.picture_size) for split in splits)
    if options.strict and (errors := [*train_set.errors.values(), *val_set.errors.values()]):
        raise ImageError(f"{len(errors)} images cannot be read (--strict); the first is {errors[0]}")
    known = resolve(options.weights).card if options.weights and not is_state_dict(options.weights) else None
    network = build(options.model, len(splits[0].class_names), network_settings(settings, train_set, known))
    start: str | None = None
    taken: list[str] = []
    if options.weights:
        class_names = splits[0].class_names
        classes = ClassRows(last_layer(network, len(class_names)), class_names)
        start, taken = load_pretrained(network, options.weights, classes)
    return TrainingJob(
        model=options.model,
        dataset=f"{splits[0].name} {splits[0].split}",
        contents=f"{len(splits[0])} images",
        started_from=start,
        train=lambda record: _train(options, settings, network, train_set, val_set, taken, record),
    )


def _train(
    options: argparse.Namespace,
    settings: ClassifierSettings,
    network: "nn.Module",
    train_set: "ImageBatches",
    val_set: "ImageBatches",
    taken: Collection[str],
    record: dict[str, Any],
) -> TrainedModel | None:
    import torch

    from pelee.classification.export import write_trained
    from pelee.classification.loading import preprocessing_of, settings_of
    from pelee.classification.training.distillation import teacher_logits
    from pelee.classification.training.lightning_module import train
    from pelee.export.trained_model import ExportPlan
    from pelee.training.trainer import to_tensors
    from weights.card import Card

    taught = None
    if options.teacher:
        device = torch.device("cuda" if torch.cuda.is_available() and options.accelerator != "cpu" else "cpu")
        kept = options.output / "teacher.safetensors"
        taught = teacher_logits(options.teacher, settings.teacher_model, train_set, settings.teacher_size, device, kept)
    # Before the training, so that a fault of the card is found now.
    card = Card(
        name=options.name or options.output.resolve().name,
        task="classification",
        architecture=options.model,
        architecture_settings=settings_of(network, settings.model_settings),
        class_names=list(train_set.dataset.class_names),
        input_size=settings.input_size,
        preprocessing=preprocessing_of(network),
        training=record,
    )
    module, scores = train(
        network,
        settings,
        train_set,
        val_set,
        options.output,
        taught=taught,
        taken=taken,
        resume=options.resume,
        finish=options.finish is not None,
        processes=options.processes,
        accelerator=options.accelerator,
    )
    if module.global_rank:
        return None
    held_out = val_set.dataset
    split, images = f"{held_out.name} {held_out.split}", len(held_out) - len(val_set.errors)
    card = replace(
        card,
        scores=[
            {
                "metric": name,
                "value": round(100 * value, 2),
                "split": split,
                "command": record["command"],
                "pictures": images,
            }
            for name, value in scores.items()
        ],
    )
    reached = ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.items())
    return TrainedModel(
        tensors=to_tensors(module.network),
        exports=ExportPlan(
            write=write_trained,
            training=train_set.dataset.files,
            source=f"{train_set.dataset.name} {train_set.dataset.split}",
            held_out=held_out.files,
        ),
        card=card,
        scores=f"{reached} on {split} ({images} images)",
        try_it="pelee-classify IMAGE",
        unreadable=sorted(
            {
                *train_set.dataset.unreadable,
                *held_out.unreadable,
                *module.unreadable,
                *train_set.errors.values(),
                *val_set.errors.values(),
            }
        ),
    )


TASK = TrainingTask(
    build_parser=build_parser,
    settings_class=ClassifierSettings,
    resolve=resolve_settings,
    open_data=_open_data,
    prepare=_prepare,
    default_recipe=DEFAULT_RECIPE,
)

if __name__ == "__main__":
    sys.exit(main())
