"""`pelee-eval`: measure the accuracy of a detector on a split of a dataset."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command_line import first_few, new_parser, positive_int, run
from data.commands.options import add_dataset_options, default_splits
from data.datasets.registry import find_format, open_dataset
from data.errors import SettingsError
from data.json_output import check_json_target, is_stdout, write_json
from detection.commands.options import add_tiles_options, parse_tiles
from pelee.commands.options import add_hidden_alias, add_inference_options, add_report_options

if TYPE_CHECKING:
    import numpy as np

    from data.datasets.records import Dataset
    from detection.evaluation.evaluate import Evaluation
    from detection.inference.prediction import Prediction


#: Default of --weights, by dataset format.
MODELS = {"voc": "pelee-voc"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-eval`; returns its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    arguments.weights = arguments.weights or MODELS.get(arguments.dataset)
    if arguments.weights is None:
        parser.error(f"--weights is needed with --dataset {arguments.dataset}: no shipped model has its classes")
    return run(lambda: _evaluate(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        prog="pelee-eval",
        description="Measure a detector: VOC's mAP (11-point and all-point) and COCO's twelve numbers.",
    )
    add_dataset_options(parser)
    parser.add_argument(
        "--split",
        help="split of the dataset; for voc also several, such as 2007-trainval,2012-trainval "
        f"(default: {default_splits(lambda entry: entry.val_split)})",
    )
    add_inference_options(parser, None, note="pelee-voc for --dataset voc")
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
        help="write the score threshold of the best F1 into the model's card; not from a split to report on",
    )
    return parser


def _evaluate(arguments: argparse.Namespace) -> int:
    # fail before the evaluation, not after it
    for library in ("pycocotools", "matplotlib") if arguments.output else ("pycocotools",):
        if importlib.util.find_spec(library) is None:
            raise SettingsError(f"{library} is not installed; pelee-eval needs it: pip install 'pelee[train]'")
    check_json_target(arguments.json)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)

    from data.datasets.dataset_warnings import summarize_warnings
    from data.inspection.verification import verify_dataset
    from detection.detector import Detector
    from detection.evaluation.evaluate import evaluate
    from detection.evaluation.label_mapping import label_map, relabel
    from detection.evaluation.report import report
    from detection.inference.thresholds import DETECTIONS_PER_IMAGE, NMS_THRESHOLD, SCORE_THRESHOLD

    detector = Detector.load(
        arguments.weights,
        runtime=arguments.runtime,
        device=arguments.device,
        precision=arguments.precision,
        mode="throughput",
        size=arguments.input_size,
    )
    split = arguments.split or find_format(arguments.dataset).val_split
    dataset = verify_dataset(open_dataset(arguments.dataset, arguments.root, split), strict=True)
    tiling = parse_tiles(arguments)
    mapping = label_map(detector.class_names, dataset.class_names)

    def detect(images: list[np.ndarray]) -> list[Prediction]:
        return [
            relabel(found, mapping)
            for found in detector.predict_batch(
                images, SCORE_THRESHOLD, NMS_THRESHOLD, DETECTIONS_PER_IMAGE, tiling=tiling
            )
        ]

    evaluation = evaluate(
        detect,
        dataset,
        batch=arguments.batch_size,
        confidence=detector.card.default_confidence,
    )
    for line in first_few(summarize_warnings(evaluation.warnings), "--json lists them all"):
        print(f"warning: {line}", file=sys.stderr)
    to_stdout = is_stdout(arguments.json)
    name = f"{detector.card.name} in {detector.runtime.name}, input {detector.input_size} × {detector.input_size}"
    print(f"{name}\n{report(evaluation)}", end="", file=sys.stderr if to_stdout else sys.stdout)
    settings: dict[str, Any] = {
        "confidence": SCORE_THRESHOLD,
        "iou": NMS_THRESHOLD,
        "max_detections": DETECTIONS_PER_IMAGE,
        "batch": arguments.batch_size,
    }
    settings |= {"runtime": detector.runtime.name, "size": detector.input_size, "tiles": arguments.tiles}
    model = {"name": detector.card.name, "sha256": detector.card.sha256}
    write_json(arguments.json, evaluation.to_json(model, settings))
    if arguments.output is not None:
        _draw(evaluation, dataset, arguments.output)
    if arguments.set_confidence:
        from detection.evaluation.f1_threshold import write_confidence
        from weights.store import resolve

        model_file, best = resolve(arguments.weights), evaluation.best_f1.confidence
        if not evaluation.best_f1.f1 > 0:
            raise SettingsError(f"{model_file.path.parent}: the card is unchanged, as the F1 is 0 at every threshold")
        write_confidence(model_file, best)
        print(f"{model_file.path.parent}: default confidence {best:.2f}", file=sys.stderr if to_stdout else sys.stdout)
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
