"""A classifier in other formats, and the proof that each is the same classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.classification.image_folder import ImageFolderDataset
from data.errors import WeightsError
from data.images.image_slice import ImageFile
from pelee.classification.classifier import Classifier, load_session
from pelee.classification.evaluation.evaluate import check_classes, evaluate
from pelee.classification.inference_model import ClassificationGraph
from pelee.classification.loading import load_network
from pelee.export.calibration import Calibration, read_inputs
from pelee.export.exporter import check_request, check_source, export
from pelee.export.graph import Graph
from weights.store import ModelFile


class ClassifierLimits(NamedTuple):
    """What a check lets pass.

    agreement: least share of the pictures with the same first class; difference: the largest mean over pictures of
    their largest difference of a probability, 0 to 1; top1_loss: the largest, in points of 100.
    """

    agreement: float
    difference: float
    top1_loss: float


LIMITS = {"f32": ClassifierLimits(0.99, 0.001, 0.1), "int8": ClassifierLimits(0.8, 0.05, 0.5)}


@dataclass(frozen=True)
class ClassifierCheck:
    """What an export is measured on: pictures, and a split of a data set where top-1 and top-5 are wanted."""

    pictures: Sequence[ImageFile]
    dataset: ImageFolderDataset | None = None


def export_classifier(
    source: ModelFile, folder: Path | str, form: str, check: ClassifierCheck, *, calibration: Calibration | None = None
) -> ModelFile:
    """Write a classifier's export and return it; see `pelee.export.exporter.export` for the folder and the errors.

    Args:
        source: the weights; they run in PyTorch, in f32, as the reference.
        folder: where to.
        form: one of `pelee.runtime.backends.FORMATS`.
        check: what it is verified on.
        calibration: for int8.
    """
    check_source(source, "classification", check.pictures)
    check_request(Path(folder), form, calibration is not None)
    if check.dataset is not None:
        check_classes(source.card.class_names, check.dataset.class_names)
    graph = Graph(ClassificationGraph(load_network(source)).eval(), ("probabilities",))
    limits = LIMITS["int8" if calibration else "f32"]
    return export(source, graph, folder, form, lambda made: verify(source, made, check, limits), calibration)


def verify(source: ModelFile, made: ModelFile, check: ClassifierCheck, limits: ClassifierLimits) -> dict[str, Any]:
    """Compare an export with its source and return the report; `WeightsError` where it is outside the limits."""
    session = load_session(source, runtime="torch", device="cpu", precision="f32")
    reference = Classifier(session, source.card)
    candidate = Classifier(load_session(made, device="cpu"), made.card)
    found: dict[str, Any] = {"runtime": candidate.runtime, "reference": reference.runtime}
    found |= compare(reference, candidate, check.pictures)
    problems = []
    if found["agreement"] < limits.agreement:
        problems.append(
            f"share of pictures with the same first class {found['agreement']:.3f}, expected at least "
            f"{limits.agreement}"
        )
    if found["mean_probability_difference"] > limits.difference:
        problems.append(
            f"mean difference of probabilities {found['mean_probability_difference']:.4f}, expected at most "
            f"{limits.difference}"
        )
    if not problems and check.dataset is not None:
        found |= measure(reference, candidate, check.dataset)
        if found["top1_loss"] > limits.top1_loss:
            problems.append(f"top-1 {found['top1_loss']:.2f} lower, expected at most {limits.top1_loss}")
    if problems:
        raise WeightsError(
            f"the export is not the same classifier as its source: {'; '.join(problems)}; nothing written"
        )
    return found


def compare(reference: Classifier, candidate: Classifier, paths: Sequence[ImageFile]) -> dict[str, Any]:
    """Classify pictures with both.

    Returns:
        pictures, agreement (the share of them with the same first class), and of each picture's largest difference of
        a probability largest_probability_difference and mean_probability_difference.
    """
    squares = list(read_inputs(paths, reference.input_size))
    ours, theirs = (np.stack([row.probabilities for row in model(squares)]) for model in (reference, candidate))
    differences = np.abs(ours - theirs).max(axis=1)
    return {
        "pictures": len(squares),
        "agreement": _rounded((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        "largest_probability_difference": _rounded(differences.max()),
        "mean_probability_difference": _rounded(differences.mean()),
    }


def measure(reference: Classifier, candidate: Classifier, pictures: ImageFolderDataset) -> dict[str, Any]:
    """Top-1 and, of more than five classes, top-5 of both on a split, in points of 100."""
    before, after = (evaluate(classifier, pictures) for classifier in (reference, candidate))
    found: dict[str, Any] = {"split": f"{pictures.name} {pictures.split}: {len(before.labels)} pictures"}
    for name in ("top1", "top5") if len(pictures.class_names) > 5 else ("top1",):
        first, second = 100 * getattr(before, name), 100 * getattr(after, name)
        found |= {f"{name}_reference": _rounded(first), name: _rounded(second)}
        found[f"{name}_loss"] = _rounded(first - second)
    return found


def report(verification: dict[str, Any]) -> str:
    """What a check found, for people."""
    v = verification
    lines = [
        f"{v['runtime']} against {v['reference']}, {v['pictures']} pictures:",
        f"  same first class  {100 * v['agreement']:.2f} %   largest difference of a probability "
        f"{v['largest_probability_difference']:.4f} (mean {v['mean_probability_difference']:.4f})",
    ]
    if "split" in v:
        kinds = [(words, name) for words, name in (("top-1", "top1"), ("top-5", "top5")) if name in v]
        scores = ", ".join(f"{words} {v[f'{name}_reference']:.2f} -> {v[name]:.2f}" for words, name in kinds)
        lines.append(f"  {scores} on {v['split']}")
    return "\n".join(lines)


def _rounded(value: Any) -> float:
    return round(float(value), 5)
