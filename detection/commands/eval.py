"""`pelee-eval`: measure the accuracy of a detector on a split of a dataset."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command_line import first_few, fraction, new_parser, positive_int, run
from data.commands.options import add_dataset_options, default_splits
from data.datasets.registry import FORMATS, find_format, find_root, open_dataset
from data.errors import SettingsError
from data.json_output import check_json_target, is_stdout, write_json
from detection.commands.options import add_tiles_options, parse_tiles
from detection.inference.thresholds import TARGET_PRECISION
from pelee.commands.options import add_hidden_alias, add_inference_options, add_report_options

if TYPE_CHECKING:
    import numpy as np

    from data.datasets.records import Dataset
    from detection.evaluation.evaluate import Detect, Evaluation
    from detection.evaluation.label_mapping import CommonClasses
    from detection.inference.prediction import Prediction


#: Default of --weights, by dataset format: the first one that is there.
MODELS = {"voc": ("pelee-voc",), "coco": ("pelee-coco", "pelee-voc")}
#: What to download for an evaluation, by dataset format.
PARTS = {"coco": "--parts val2017 annotations", "voc": "--parts 2007-test"}
#: COCO's own short names of splits.
COCO_SPLITS = {"test-dev": "test-dev2017"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-eval`; returns its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.dataset is None:
        parser.error("--dataset is needed")
    if arguments.root is None and not FORMATS[arguments.dataset].default_root:
        parser.error(f"--root is needed with --dataset {arguments.dataset}")
    arguments.weights = arguments.weights or _default_model(arguments.dataset)
    if arguments.weights is None:
        parser.error(f"--weights is needed with --dataset {arguments.dataset}: no shipped model has its classes")
    if arguments.target_precision is not None and not arguments.set_confidence:
        parser.error("--target-precision needs --set-confidence")
    return run(lambda: _evaluate(arguments))


def _default_model(dataset: str) -> str | None:
    from weights.model_folders import folder_of

    return next((name for name in MODELS.get(dataset, ()) if folder_of(name) is not None), None)


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    parser = new_parser(
        prog="pelee-eval",
        description="Measure a detector: VOC's mAP (11-point and all-point) and COCO's twelve numbers.",
    )
    add_dataset_options(parser, required=False)
    parser.add_argument(
        "--split",
        help="split of the dataset; for voc also several, such as 2007-trainval,2012-trainval "
        f"(default: {default_splits(lambda entry: entry.val_split)}); coco's test-dev with --output writes the result "
        "file for its evaluation server",
    )
    parser.add_argument(
        "--map",
        action="append",
        type=_pair,
        default=[],
        metavar="A=B",
        help="class A of the model is class B of the dataset; those of one name, and VOC's and COCO's names of one "
        "class, need none. Measured are the classes that both know",
    )
    note = "pelee-voc for --dataset voc; an installed pelee-coco, else pelee-voc, for coco"
    add_inference_options(parser, None, note=note)
    add_tiles_options(parser)
    parser.add_argument(
        "--batch-size", type=positive_int, default=16, metavar="N", help="images per call (default: %(default)s)"
    )
    add_hidden_alias(parser, "--batch", dest="batch_size", type=positive_int)
    add_report_options(
        parser, "write plots of the curves, confusion matrix and errors, and pages of the best and worst images"
    )
    parser.add_argument(
        "--set-confidence",
        action="store_true",
        help="write default score thresholds into the model's card: that of the best F1, and one for each class by "
        "--target-precision; not from a split to report on",
    )
    parser.add_argument(
        "--target-precision",
        type=fraction,
        metavar="P",
        help="with --set-confidence: a class has the threshold of the highest recall at a precision of at least P "
        f"(default: {TARGET_PRECISION}), or that of its best F1 where it does not reach P",
    )
    return parser


def _pair(text: str) -> tuple[str, str]:
    first, _, second = (part.strip() for part in text.partition("="))
    if not first or not second:
        raise argparse.ArgumentTypeError(f"{text!r}; expected CLASS=CLASS, such as lorry=truck")
    return first, second


def _open(arguments: argparse.Namespace) -> tuple[Path, Dataset]:
    """Return the root and the dataset."""
    from data.inspection.verification import verify_dataset

    name = arguments.dataset
    root = find_root(name, arguments.root, PARTS.get(name, ""), f"pelee-eval --dataset {name}")
    split = arguments.split or find_format(arguments.dataset).val_split
    if arguments.dataset == "coco":
        split = COCO_SPLITS.get(split, split)
    return root, verify_dataset(open_dataset(arguments.dataset, root, split), strict=True)


def _is_test_set(arguments: argparse.Namespace, dataset: Dataset) -> bool:
    """Whether a split is one of COCO's without annotations, of which a result file is written."""
    if arguments.dataset != "coco" or any(len(record.labels) for record in dataset.records):
        return False
    if not dataset.split.startswith("test"):
        return False
    if arguments.output is None:
        raise SettingsError(
            f"{dataset.split} has no annotations; --output DIR gets the file for COCO's evaluation server"
        )
    return True


def _evaluate(arguments: argparse.Namespace) -> int:
    # fail before the evaluation, not after it
    for library in ("pycocotools", "matplotlib") if arguments.output else ("pycocotools",):
        if importlib.util.find_spec(library) is None:
            raise SettingsError(f"{library} is not installed; pelee-eval needs it: pip install 'pelee[train]'")
    check_json_target(arguments.json)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)

    from data.datasets.dataset_warnings import summarize_warnings
    from detection.detector import Detector
    from detection.evaluation.evaluate import evaluate
    from detection.evaluation.label_mapping import common_classes, relabel
    from detection.evaluation.report import report
    from detection.inference.options import evaluation_options

    detector = Detector.load(
        arguments.weights,
        runtime=arguments.runtime,
        device=arguments.device,
        precision=arguments.precision,
        mode="throughput",
        size=arguments.input_size,
    )
    root, dataset = _open(arguments)
    test_set = _is_test_set(arguments, dataset)
    tiling = parse_tiles(arguments)
    own = evaluation_options(detector.card)
    common = common_classes(detector.class_names, dataset.class_names, arguments.map)

    def detect(images: list[np.ndarray]) -> list[Prediction]:
        return [
            relabel(found, common.mapping)
            for found in detector.predict_batch(images, own.confidence, own.iou, own.max_detections, tiling=tiling)
        ]

    to_stdout = is_stdout(arguments.json)
    if not common.plain:
        print(common.describe(), file=sys.stderr if to_stdout else sys.stdout)
    if test_set:
        return _write_results(arguments, detect, root, dataset, common, detector.card.name)
    dataset = common.restrict(dataset)
    evaluation = evaluate(
        detect,
        dataset,
        batch=arguments.batch_size,
        confidence=detector.card.default_confidence,
    )
    for line in first_few(summarize_warnings(evaluation.warnings), "--json lists them all"):
        print(f"warning: {line}", file=sys.stderr)
    name = f"{detector.card.name} in {detector.runtime.name}, input {detector.input_size} × {detector.input_size}"
    print(f"{name}\n{report(evaluation)}", end="", file=sys.stderr if to_stdout else sys.stdout)
    settings: dict[str, Any] = {
        "confidence": own.confidence,
        "iou": own.iou,
        "max_detections": own.max_detections,
        "batch": arguments.batch_size,
    }
    settings |= {"runtime": detector.runtime.name, "size": detector.input_size, "tiles": arguments.tiles}
    if not common.plain:
        settings["classes"] = common.to_json()
    model = {"name": detector.card.name, "sha256": detector.card.sha256}
    write_json(arguments.json, evaluation.to_json(model, settings))
    if arguments.output is not None:
        _draw(evaluation, dataset, arguments.output)
    if arguments.set_confidence:
        print(_set_confidence(arguments, evaluation, common), file=sys.stderr if to_stdout else sys.stdout)
    return 0


def _set_confidence(arguments: argparse.Namespace, evaluation: Evaluation, common: CommonClasses) -> str:
    """Write the default thresholds into the card and return the lines that say so."""
    from detection.evaluation.f1_threshold import class_confidence, describe_thresholds, write_confidence
    from weights.store import resolve

    model_file, best = resolve(arguments.weights), evaluation.best_f1
    if not best.f1 > 0:
        raise SettingsError(f"{model_file.path.parent}: the card is unchanged, as the F1 is 0 at every threshold")
    precision = TARGET_PRECISION if arguments.target_precision is None else arguments.target_precision
    names = [own for own, _ in common.pairs]
    by_class = class_confidence(evaluation.voc, names, f"{evaluation.dataset} {evaluation.split}", precision)
    write_confidence(model_file, best.confidence, by_class)
    return f"{model_file.path.parent}: default confidence {best.confidence:.2f}; {describe_thresholds(by_class)}"


def _write_results(
    arguments: argparse.Namespace,
    detect: Detect,
    root: Path,
    dataset: Dataset,
    common: CommonClasses,
    model: str,
) -> int:
    from data.datasets.coco import category_ids
    from detection.evaluation.coco_results import write_coco_results

    ids = category_ids(root, dataset.split)
    ids = tuple(ids[label] for label in common.dataset_labels.tolist())
    file = arguments.output / f"detections_{dataset.split}_{model}_results.json"
    number = write_coco_results(detect, dataset, ids, file, batch=arguments.batch_size)
    print(f"{number:,} detections in {len(dataset.records):,} images: {file}", file=sys.stderr)
    return 0


def _draw(evaluation: Evaluation, dataset: Dataset, folder: Path) -> None:
    from detection.evaluation.plots import plot_confusion_matrix, plot_errors, plot_precision_recall
    from detection.evaluation.sample_pages import write_pages

    names = dataset.class_names
    plot_precision_recall(evaluation.voc, folder / "precision_recall.png")
    plot_confusion_matrix(evaluation.confusion, names, folder / "confusion_matrix.png")
    plot_errors(evaluation.errors, folder / "errors.png")
    write_pages(evaluation.diagnosis, dataset.records, names, evaluation.confidence, folder)


if __name__ == "__main__":
    sys.exit(main())
