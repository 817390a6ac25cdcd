"""Export of a classifier to other formats, verified against its source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.classification.image_folder import ImageFolderDataset
from data.images.image_slice import ImageFile
from pelee.classification.classifier import Classifier, load_session
from pelee.classification.evaluation.evaluate import check_classes, evaluate
from pelee.classification.inference_model import ClassificationGraph
from pelee.classification.loading import load_network
from pelee.export.calibration import Calibration, read_inputs
from pelee.export.exporter import check_request, check_source, export
from pelee.export.graph import Graph
from pelee.export.verification import ExportCheck, Limit, rounded, verify_export
from weights.store import ModelFile


class ClassifierLimits(NamedTuple):
    """Limits of a verification.

    Attributes:
        agreement: least fraction of the images with the same first class.
        difference: largest mean, over images, of the largest difference of a probability, 0 to 1.
        top1_loss: largest loss of top-1, in percentage points.
    """

    agreement: float
    difference: float
    top1_loss: float


LIMITS = {"f32": ClassifierLimits(0.99, 0.001, 0.1), "int8": ClassifierLimits(0.8, 0.05, 0.5)}


class ClassifierCheck(ExportCheck[ImageFolderDataset]):
    """Images, and a split of a dataset to measure top-1 and top-5 on, if any."""


def export_classifier(
    source: ModelFile, folder: Path | str, form: str, check: ClassifierCheck, *, calibration: Calibration | None = None
) -> ModelFile:
    """Write a classifier's export and return it; see `pelee.export.exporter.export` for the folder and the errors.

    Args:
        source: the weights; they run in PyTorch, in f32, as the reference.
        folder: output folder.
        form: one of `pelee.runtime.backends.FORMATS`.
        check: data of the verification.
        calibration: images for int8 quantization.
    """
    check_source(source, "classification", check.images)
    check_request(Path(folder), form, calibration is not None)
    if check.dataset is not None:
        check_classes(source.card.class_names, check.dataset.class_names)
    graph = Graph(ClassificationGraph(load_network(source)).eval(), ("probabilities",))
    limits = LIMITS["int8" if calibration else "f32"]
    return export(source, graph, folder, form, lambda made: verify(source, made, check, limits), calibration)


def write_trained(
    model: ModelFile, folder: Path, form: str, images: Sequence[ImageFile], calibration: Calibration | None
) -> ModelFile:
    """Write an export at the end of a training, as `pelee.export.trained_model.ExportPlan.write`."""
    return export_classifier(model, folder, form, ClassifierCheck(images), calibration=calibration)


def verify(source: ModelFile, made: ModelFile, check: ClassifierCheck, limits: ClassifierLimits) -> dict[str, Any]:
    """Compare an export with its source and return the report. Raises WeightsError outside the limits."""
    session = load_session(source, runtime="torch", device="cpu", precision="f32")
    reference = Classifier(session, source.card)
    candidate = Classifier(load_session(made, device="cpu"), made.card)
    dataset = check.dataset
    report: dict[str, Any] = {"runtime": candidate.runtime, "reference": reference.runtime}
    return verify_export(
        "classifier",
        report | compare(reference, candidate, check.images),
        [
            Limit("agreement", "share of images with the same first class {}", "least", limits.agreement),
            Limit(
                "mean_probability_difference",
                "mean difference of probabilities {}",
                "most",
                limits.difference,
                digits=4,
            ),
        ],
        None if dataset is None else lambda: measure(reference, candidate, dataset),
        Limit("top1_loss", "top-1 {} lower", "most", limits.top1_loss, digits=2),
    )


def compare(reference: Classifier, candidate: Classifier, paths: Sequence[ImageFile]) -> dict[str, Any]:
    """Compare the probabilities of both on images.

    Returns:
        pictures (number of images), agreement (fraction of them with the same first class), and the largest and the
        mean, over images, of the largest difference of a probability.
    """
    squares = list(read_inputs(paths, reference.input_size))
    ours, theirs = (np.stack([row.probabilities for row in model(squares)]) for model in (reference, candidate))
    differences = np.abs(ours - theirs).max(axis=1)
    return {
        "pictures": len(squares),
        "agreement": rounded((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        "largest_probability_difference": rounded(differences.max()),
        "mean_probability_difference": rounded(differences.mean()),
    }


def measure(reference: Classifier, candidate: Classifier, dataset: ImageFolderDataset) -> dict[str, Any]:
    """Top-1 and, of more than five classes, top-5 of both on a split, in points of 100."""
    before, after = (evaluate(classifier, dataset) for classifier in (reference, candidate))
    found: dict[str, Any] = {"split": f"{dataset.name} {dataset.split}: {len(before.labels)} images"}
    for name in ("top1", "top5") if len(dataset.class_names) > 5 else ("top1",):
        first, second = 100 * getattr(before, name), 100 * getattr(after, name)
        found |= {f"{name}_reference": rounded(first), name: rounded(second)}
        found[f"{name}_loss"] = rounded(first - second)
    return found


def report(verification: dict[str, Any]) -> str:
    """Text report of a verification."""
    v = verification
    lines = [
        f"{v['runtime']} against {v['reference']}, {v['pictures']} images:",
        f"  same first class  {100 * v['agreement']:.2f} %   largest difference of a probability "
        f"{v['largest_probability_difference']:.4f} (mean {v['mean_probability_difference']:.4f})",
    ]
    if "split" in v:
        kinds = [(words, name) for words, name in (("top-1", "top1"), ("top-5", "top5")) if name in v]
        scores = ", ".join(f"{words} {v[f'{name}_reference']:.2f} -> {v[name]:.2f}" for words, name in kinds)
        lines.append(f"  {scores} on {v['split']}")
    return "\n".join(lines)
