"""`pelee-train`: train or fine-tune the detector."""

import argparse
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command_line import first_few, new_parser
from data.commands.options import add_dataset_options
from data.errors import SettingsError
from detection.training.settings import RECIPES, TrainSettings, check_fit, resolve_settings
from pelee.commands.training_command import (
    TrainedModel,
    TrainingJob,
    TrainingTask,
    add_training_options,
    training_command,
)

if TYPE_CHECKING:
    from data.datasets.records import Dataset
    from detection.models.network import DetectorNetwork


DEFAULT_RECIPE = "quick"
FEW_STEPS, USUAL_STEPS = 60, 200  # of a training
CHECK = "pelee-data check lists them all"
EPILOG = """\
A recipe sets the settings above; a flag overrides the recipe. Values in parentheses hold for what a recipe leaves out.
--print-settings prints the result.

examples:
  pelee-train --dataset voc --root VOCdevkit --recipe quick --output runs/voc
  pelee-train --dataset yolo --root my-data --weights pelee-voc --epochs 30 --output runs/mine    fine-tunes
  pelee-train --dataset yolo --root my-data --weights pelee-voc --freeze --output runs/heads      trains new heads only
  pelee-train --output runs/voc --resume      goes on after an interruption
  pelee-train --finish runs/voc               or writes the best weights so far as a model
  pelee-train --model ssdlite-mobilenetv2 --backbone mobilenet_v2.pth --dataset voc --root VOCdevkit --output runs/peer

exit codes: 0 done, 1 done, but images were left out or the model finds nothing, 2 an error, in one line,
130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser(
        prog="pelee-train",
        description="Train a detector on images with boxes: from scratch, from a backbone or from a detector.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add_dataset_options(parser, required=False)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--weights", help="start from a detector: a shipped name or a model folder")
    start.add_argument(
        "--backbone",
        help="start the backbone from a classifier (PeleeNet; MobileNetV2 for the peer): a shipped name, a model "
        "folder or torchvision's state dict (.pth)",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="FILE",
        help="also imitate the feature maps of the MobileNet-SSD in this file, written by "
        "python -m detection.commands.convert_teacher",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="decode all images first, and refuse a dataset with one that cannot be read",
    )
    add_training_options(parser, TrainSettings, RECIPES, "runs/train", DEFAULT_RECIPE)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-train` and return its exit code."""
    return training_command(TASK, argv)


def _open_data(options: argparse.Namespace, settings: TrainSettings) -> tuple["Dataset", "Dataset"]:
    """Open and verify both splits; the classes of the validation split are those of the training split."""
    from data.datasets.class_names import align_classes, match_classes
    from data.datasets.dataset_warnings import summarize_warnings
    from data.datasets.registry import open_dataset
    from data.inspection.verification import unreadable_note, verify_dataset
    from data.progress_bar import progress_bar
    from weights.store import resolve

    for source in (options.weights, options.backbone):
        if source and not source.endswith(".pth"):
            resolve(source)
    if options.teacher and not options.teacher.is_file():
        raise SettingsError(f"--teacher: {options.teacher} is no file")
    opened = []
    for split in (settings.train_split, settings.val_split):
        dataset = open_dataset(options.dataset, options.root, split)
        with progress_bar(f"reading {dataset.split}", len(dataset.records)) as advance:
            opened.append(verify_dataset(dataset, strict=options.strict, decode=options.strict, progress=advance))
    train_set, val_set = opened
    match = match_classes(val_set.class_names, train_set.class_names)
    val_set = align_classes(val_set, train_set.class_names)
    for dataset in (train_set, val_set):
        print(f"{dataset.name} {dataset.split}: {len(dataset.records)} images, {len(dataset.class_names)} classes")
        notes = first_few(summarize_warnings(dataset.warnings), CHECK)
        if dataset is val_set:
            notes += match.lines(val_set.split, train_set.split)
        for line in [*(f"note: {note}" for note in notes), *unreadable_note(dataset.unreadable, CHECK)]:
            print(f"  {line}")
    if len(train_set.records) == 1:
        train_set = replace(train_set, records=2 * train_set.records)  # batch norm needs two images
    check_fit(train_set, val_set, settings, options.processes.count)
    steps, in_epoch = settings.total_steps(len(train_set.records)), settings.steps_per_epoch(len(train_set.records))
    if steps < FEW_STEPS and settings.max_steps is None and not (options.resume or options.finish):
        print(
            f"note: {settings.epochs} epochs of {in_epoch} steps are {steps} steps, which is little; fine-tuning on "
            f"few images takes some hundred: --epochs {-(-USUAL_STEPS // in_epoch)}"
        )
    return train_set, val_set


def _prepare(options: argparse.Namespace, settings: TrainSettings, data: tuple["Dataset", "Dataset"]) -> TrainingJob:
    from detection.models.registry import build
    from detection.training.loss import init_heads

    train_set, val_set = data
    network = build(settings.network(len(train_set.class_names)))
    init_heads(network.heads, settings)
    start, taken = _start(network, options, train_set.class_names)
    objects = sum(len(record.labels) for record in train_set.records)
    return TrainingJob(
        model=settings.model,
        dataset=f"{train_set.name} {train_set.split}",
        contents=f"{len(train_set.records)} images, {objects} objects",
        started_from=start,
        train=lambda record: _train(options, settings, network, train_set, val_set, taken, record),
    )


def _start(
    network: "DetectorNetwork", options: argparse.Namespace, class_names: tuple[str, ...]
) -> tuple[str | None, list[str]]:
    """Load the weights to start from; returns their name and the names of the tensors taken."""
    from detection.models.loading import class_rows, to_config
    from detection.training.model_card import check_design
    from pelee.models.pretrained import load_pretrained
    from weights.store import resolve

    if options.weights:
        model = resolve(options.weights)
        check_design(network.config, to_config(model), model.card.name)
        return load_pretrained(network, options.weights, class_rows(network, class_names))
    if options.backbone:
        start, taken = load_pretrained(network.backbone, options.backbone)
        return start, [f"backbone.{name}" for name in taken]
    return None, []


def _train(
    options: argparse.Namespace,
    settings: TrainSettings,
    network: "DetectorNetwork",
    train_set: "Dataset",
    val_set: "Dataset",
    taken: Collection[str],
    record: dict[str, Any],
) -> TrainedModel | None:
    from detection.evaluation.f1_threshold import best_f1, class_confidence, describe_thresholds
    from detection.export.export import write_trained
    from detection.inference.thresholds import TARGET_PRECISION
    from detection.training.distillation import load_teacher
    from detection.training.model_card import make_card
    from detection.training.train import train
    from pelee.export.trained_model import ExportPlan
    from pelee.training.trainer import to_tensors

    # Before the training, so that a fault of the card is found now.
    card = make_card(options.name or options.output.resolve().name, network.config, train_set.class_names, record)
    trained = train(
        network,
        settings,
        train_set,
        val_set,
        options.output,
        teacher=load_teacher(options.teacher) if options.teacher else None,
        taken=taken,
        resume=options.resume,
        finish=options.finish is not None,
        processes=options.processes,
        accelerator=options.accelerator,
    )
    if trained.global_rank:
        return None
    score, images = round(100 * trained.best_score, 2), len(val_set.records)
    card.scores.append(
        {
            "metric": "mAP 11-point",
            "value": score,
            "split": val_set.split,
            "command": record["command"],
            "pictures": images,
        }
    )
    assert trained.result is not None
    best = best_f1(trained.result)
    warning = ""
    notes = []
    if best.f1 > 0:
        split = f"{val_set.name} {val_set.split}"
        by_class = class_confidence(trained.result, val_set.class_names, split, TARGET_PRECISION)
        card = replace(card, default_confidence=best.confidence, class_confidence=by_class)
        notes = [f"default score thresholds {describe_thresholds(by_class)}"]
    else:
        warning = f"the model finds no object of {val_set.split} and is of no use as a detector; train it longer"
    return TrainedModel(
        tensors=to_tensors(trained.network),
        exports=ExportPlan(
            write=write_trained,
            training=[record.image for record in train_set.records],
            source=f"{train_set.name} {train_set.split}",
            held_out=[record.image for record in val_set.records],
        ),
        card=card,
        scores=f"mAP {score} on {val_set.split} ({images} images)",
        notes=[
            f"default score threshold {card.default_confidence}, at which the mean F1 of the classes is {best.f1:.2f}",
            *notes,
        ],
        try_it="pelee-detect IMAGE",
        warning=warning,
        unreadable=[*train_set.unreadable, *val_set.unreadable, *sorted(trained.unreadable)],
    )


TASK = TrainingTask(
    build_parser=build_parser,
    settings_class=TrainSettings,
    resolve=resolve_settings,
    open_data=_open_data,
    prepare=_prepare,
    default_recipe=DEFAULT_RECIPE,
)

if __name__ == "__main__":
    sys.exit(main())
