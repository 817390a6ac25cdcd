"""`pelee-train-classifier`: train or fine-tune a classification network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.classification.layouts import LAYOUTS
from data.command_line import first_few, new_parser, run
from pelee.commands.options import add_training_options, train_command
from pelee.training.allocator import tune_allocator

if TYPE_CHECKING:
    from pelee.classification.training.settings import ClassifierSettings


RECIPE_NAMES = "cars, cifar10, inception-v3, paper, quick, report, strong, tiny-densenet"
EPILOG = """\
every setting of a recipe is also a flag that overrides it: --epochs 20 --lr 0.05 --mixup 0.2
  (pelee-train-classifier --print-settings lists them all; --mlflow sqlite:///runs.db logs to MLflow, too)

examples:
  pelee-train-classifier --model peleenet --dataset tiny-imagenet --root tiny-imagenet --recipe quick --output runs/tiny
  pelee-train-classifier --dataset imagefolder --root my-photos --weights peleenet-tiny-imagenet --output runs/mine
  pelee-train-classifier --dataset cifar10 --root cifar10 --weights peleenet-tiny-imagenet --freeze true --output runs/a
  pelee-train-classifier --dataset cifar10 --root cifar10 --weights runs/a/model --pretrained-lr 0.1 --output runs/b
  pelee-train-classifier --dataset cifar10 --root cifar10 --teacher mobilenet_v2.pth --output runs/taught

exit codes: 0 done, 1 done, but pictures could not be read and were left out, 2 an error, told in one line;
130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's own flags; the settings' are read by `pelee.training.recipes.parse_overrides`."""
    parser = new_parser(
        prog="pelee-train-classifier",
        description="Train a classification network on a folder of pictures a class.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--model", default="peleenet", help="the network's name, see pelee-models (%(default)s)")
    parser.add_argument("--dataset", choices=tuple(LAYOUTS), help="layout of the data under --root")
    parser.add_argument("--root", type=Path, help="the data set's folder, with SPLIT/CLASS/PICTURE in it")
    parser.add_argument("--recipe", help=f"a shipped recipe ({RECIPE_NAMES}) or a YAML file")
    parser.add_argument("--output", type=Path, default=Path("runs/classifier"), help="checkpoints, logs and the model")
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
        help="learn from a teacher, too: the state dict of the torchvision classifier that --teacher-model names",
    )
    add_training_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-train-classifier`; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, words = build_parser().parse_known_args(arguments)
    return run(lambda: _main(options, words, arguments))


def _main(options: argparse.Namespace, words: Sequence[str], arguments: Sequence[str]) -> int:
    tune_allocator()  # before torch is there
    from pelee.classification.training.settings import resolve_settings

    return train_command("pelee-train-classifier", options, words, arguments, resolve_settings, _train)


def _train(options: argparse.Namespace, settings: "ClassifierSettings", command: str) -> int:
    import torch

    from data.classification.image_folder import open_image_folder
    from data.classification.object_crop import ObjectCrop
    from pelee.classification.loading import preprocessing_of, settings_of
    from pelee.classification.training.dataset import ImageBatches
    from pelee.classification.training.distillation import teacher_logits
    from pelee.classification.training.lightning_module import train
    from pelee.classification.training.normalization import network_settings
    from pelee.models.pretrained import is_state_dict, start_from
    from pelee.models.registry import build
    from pelee.runs.run import record_run
    from pelee.training.provenance import current_commit
    from pelee.training.recipes import to_plain
    from pelee.training.trainer import check_output, to_tensors
    from weights.card import Card
    from weights.store import resolve, save_model

    check_output(options.output, options.resume)
    splits = [
        open_image_folder(options.dataset, options.root, split, ObjectCrop.of(vars(settings)))
        for split in (settings.train_split, settings.val_split)
    ]
    for pictures in splits:
        print(f"{pictures.name} {pictures.split}: {len(pictures)} pictures, {len(pictures.class_names)} classes")
    train_set, val_set = (ImageBatches(pictures, settings.picture_size) for pictures in splits)
    names = list(splits[0].class_names)

    commit = current_commit()  # of what runs now, whatever becomes of the files in the hours to come
    torch.manual_seed(settings.seed)
    known = resolve(options.weights).card if options.weights and not is_state_dict(options.weights) else None
    network = build(options.model, len(names), network_settings(settings, train_set, known))
    start, taken = start_from(network, options.weights) if options.weights else (None, [])
    taught = None
    if options.teacher:
        device = torch.device("cuda" if torch.cuda.is_available() and options.accelerator != "cpu" else "cpu")
        kept = options.output / "teacher.safetensors"
        taught = teacher_logits(options.teacher, settings.teacher_model, train_set, settings.teacher_size, device, kept)
    with record_run(
        options.output,
        command=command,
        model=options.model,
        dataset=f"{splits[0].name} {splits[0].split}",
        settings=to_plain(settings),
        started_from=start,
    ):
        module, scores = train(
            network,
            settings,
            train_set,
            val_set,
            options.output,
            taught=taught,
            taken=taken,
            resume=options.resume,
            devices=options.devices,
            accelerator=options.accelerator,
        )
    if module.global_rank:
        return 0  # one process writes the model
    count = len(val_set.dataset) - len(val_set.errors)
    card = Card(
        name=options.name or options.output.resolve().name,
        task="classification",
        architecture=options.model,
        architecture_settings=settings_of(network, settings.model_settings),
        class_names=names,
        input_size=settings.input_size,
        preprocessing=preprocessing_of(network),
        training={
            "command": command,
            "commit": commit,
            "settings": to_plain(settings),
            "data": f"{splits[0].name} {splits[0].split}: {len(splits[0])} pictures",
            "started_from": start,
        },
        scores=[
            {
                "metric": name,
                "value": round(100 * value, 2),
                "split": f"{splits[1].name} {splits[1].split}",
                "command": command,
                "pictures": count,
            }
            for name, value in scores.items()
        ],
    )
    saved = save_model(options.output / "model", to_tensors(module.network), card)
    reached = ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.items())
    print(f"model: {saved.path.parent}, {reached} on {splits[1].name} {splits[1].split} ({count} pictures)")
    print(f"try it: pelee-classify PICTURE --weights {saved.path.parent}")
    if module.unreadable or train_set.errors or val_set.errors:
        errors = sorted({*module.unreadable, *train_set.errors.values(), *val_set.errors.values()})
        print(f"{len(errors)} pictures could not be read and were left out:", file=sys.stderr)
        for line in first_few(errors, "see the folders for the rest"):
            print(f"  {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
