"""`pelee-eval-classifier`: evaluate a classifier on a split of a dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.classification.layouts import LAYOUTS
from data.command_line import first_few, new_parser, positive_int, run
from pelee.commands.options import add_inference_options, add_report_options

EPILOG = """\
examples:
  pelee-eval-classifier --weights peleenet-tiny-imagenet --dataset tiny-imagenet --root tiny-imagenet
  pelee-eval-classifier --weights runs/flowers/model --dataset imagefolder --root flowers --output out/

exit codes:
  0    all images were evaluated
  1    some images could not be read: one line on stderr for each, the others were evaluated
  2    no image was evaluated: one line on stderr
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    parser = new_parser(
        prog="pelee-eval-classifier",
        description="Evaluate a classifier: top-1 and top-5 accuracy, the worst classes, the most confident mistakes.",
        epilog=EPILOG,
    )
    add_inference_options(parser, None)
    parser.add_argument("--dataset", choices=tuple(LAYOUTS), required=True, help="layout of the dataset")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--split", metavar="NAME", help="split of the dataset (val; test for cifar10 and cars)")
    parser.add_argument(
        "--batch-size", type=positive_int, default=64, metavar="N", help="images per batch (%(default)s)"
    )
    parser.add_argument(
        "--workers", type=positive_int, default=4, metavar="N", help="threads that read images (%(default)s)"
    )
    parser.add_argument(
        "--worst",
        type=positive_int,
        default=10,
        metavar="N",
        help="number of the worst classes in the table (%(default)s)",
    )
    add_report_options(
        parser,
        "write mistakes.png, a page of the most confident mistakes, and confusion_matrix.png or, above 40 classes, "
        "confusions.png",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = build_parser().parse_args(argv)
    return run(lambda: _evaluate(args))


def _evaluate(args: argparse.Namespace) -> int:
    import importlib.util
    from dataclasses import asdict

    from data.command_line import missing_part
    from data.errors import SettingsError
    from data.json_output import check_json_target, is_stdout, write_json

    # fail before the evaluation, not after it
    if args.output is not None:
        if importlib.util.find_spec("matplotlib") is None:
            raise SettingsError(missing_part("matplotlib"))
        args.output.mkdir(parents=True, exist_ok=True)
    check_json_target(args.json)

    from pelee.classification.classifier import Classifier
    from pelee.classification.evaluation.evaluate import evaluate, open_as_trained
    from pelee.classification.evaluation.report import report

    classifier = Classifier.load(
        args.weights,
        runtime=args.runtime,
        device=args.device,
        precision=args.precision,
        mode="throughput",
        input_size=args.input_size,
    )
    split = args.split or LAYOUTS[args.dataset].val_split
    card = classifier.card
    images = open_as_trained(card, args.dataset, args.root, split)
    view = images.crop
    evaluation = evaluate(classifier, images, batch=args.batch_size, workers=args.workers)
    to_stdout = is_stdout(args.json)
    how = f"{card.name} on {classifier.runtime}, {classifier.input_size} px" + f", {view}" * view.needs_box
    print(
        f"{how}\n{report(evaluation, args.worst)}",
        end="",
        file=sys.stderr if to_stdout else sys.stdout,
    )
    if args.json is not None:
        content = evaluation.to_json(
            {"name": card.name, "sha256": card.sha256},
            {"runtime": classifier.runtime, "input_size": classifier.input_size, "batch_size": args.batch_size}
            | (asdict(view) if view.needs_box else {}),
        )
        write_json(args.json, content)
    if args.output is not None:
        from pelee.classification.evaluation.plots import plot_confusions, plot_mistakes

        wrong = round(len(evaluation.labels) * (1 - evaluation.top1))
        title = (
            f"{card.name}: the most confident of {wrong} mistakes in {len(evaluation.labels)} images of "
            f"{evaluation.dataset} {evaluation.split}"
        )
        names = evaluation.class_names
        plot_mistakes(evaluation.mistakes, names, args.output / "mistakes.png", title)
        plot_confusions(evaluation.confusion, names, args.output)
    if evaluation.unreadable:
        print(f"error: images skipped because they cannot be read: {len(evaluation.unreadable)}", file=sys.stderr)
        for line in first_few(evaluation.unreadable, "--json lists them all"):
            print(f"error: {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
