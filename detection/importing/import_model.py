"""Import of a file of published weights: the network that it holds, its card, and the model folder."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from data.errors import SettingsError, WeightsError
from data.images.image_slice import ImageFile
from detection.importing.pelee_weights import FIRST_HEAD, caffe_detector
from detection.importing.port_weights import holds_port, port_detector
from detection.importing.torchvision_weights import (
    holds_detector,
    torchvision_detector,
    torchvision_preprocessing,
)
from detection.models.loading import to_settings
from detection.models.network import DetectorConfig
from detection.models.pelee import Pelee
from detection.models.pelee_port import PeleePort
from pelee.classification.loading import preprocessing_of, settings_of
from pelee.export.calibration import Calibration
from pelee.importing.caffe_weights import CaffeWeights
from pelee.importing.checkpoint import read_checkpoint
from pelee.importing.peleenet_weights import CAFFE_CLASSIFIER, caffe_classifier, torch_classifier
from pelee.importing.published_classes import name_classes
from pelee.models.registry import MODELS
from pelee.runs.provenance import current_commit
from weights.card import Card
from weights.store import ModelFile, is_pickle, save_model


@dataclass(frozen=True)
class ImportOptions:
    """How to read a file, besides what it states itself.

    Attributes:
        name: the model's name, for its card.
        command: the command line, for its card.
        classes: file with class names, one per line; by default those of the dataset with as many classes.
        prior_sizes: a key of `detection.importing.pelee_weights.PRIOR_SIZES`, for a file without its priors.
        input_size: side of the square input in pixels; by default the file's, or the published one.
    """

    name: str
    command: str = ""
    classes: Path | None = None
    prior_sizes: str | None = None
    input_size: int | None = None


@dataclass(frozen=True)
class ImportedModel:
    """A network with published weights, in eval mode, its card, and a line for people about it."""

    network: nn.Module
    card: Card
    summary: str


def read_model(file: Path, options: ImportOptions) -> ImportedModel:
    """Read a Caffe or PyTorch file of Pelee, PeleeNet or torchvision's detectors, recognized by its content.

    Raises:
        WeightsError: another file or network, or a damaged one.
        SettingsError: class names or priors that are not stated anywhere, or do not fit; one line each.
    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such file, expected published weights: a .caffemodel or a .pth.tar")
    if is_pickle(file):
        state = read_checkpoint(file)
        if holds_detector(state):
            return _torchvision(file, state, options)
        if holds_port(state):
            port = port_detector(state, file, options.prior_sizes, options.input_size)
            return _detector(file, port, options, "PyTorch port")
        network: nn.Module = torch_classifier(state, file)
        source = "PyTorch"
    else:
        weights = CaffeWeights(file)
        merged = "unmerged (BatchNorm)" if weights.has("stem1/bn") else "merged (convolution with bias)"
        source = f"Caffe, {merged}"
        if weights.has(FIRST_HEAD):
            network = caffe_detector(weights, options.prior_sizes, options.input_size)
        elif weights.has(CAFFE_CLASSIFIER) and weights.has("stem1"):
            network = caffe_classifier(weights)
        else:
            raise WeightsError(
                f"{file}: holds another network; expected Pelee, with weights of {FIRST_HEAD}, or PeleeNet, with those "
                f"of stem1 and {CAFFE_CLASSIFIER}"
            )
    if isinstance(network, Pelee):
        return _detector(file, network, options, source)
    if options.prior_sizes is not None:
        raise SettingsError(f"--prior-sizes is for a detector, and {file} holds a classifier: leave it out")
    return _classifier(file, network, options, source)


def write_model(
    imported: ImportedModel, folder: Path, images: Sequence[ImageFile], calibration: Calibration | None = None
) -> ModelFile:
    """Write the model folder, with an OpenVINO export in f32 and, with `calibration`, one in int8; all or nothing.

    The weights stay f32, since results are to agree with those of the published network.

    Args:
        imported: the network and its card.
        folder: where to; it must not exist, or be empty.
        images: images to verify the exports on.
        calibration: images for int8.

    Raises:
        SettingsError: the folder holds something.
        WeightsError: an export differs from the network.
    """
    check_folder(folder)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    try:
        tensors = {name: tensor.numpy() for name, tensor in imported.network.state_dict().items()}
        model = save_model(aside, tensors, imported.card, half=False)
        for kind, images_of_int8 in (("openvino", None), ("openvino-int8", calibration)):
            if kind == "openvino" or images_of_int8 is not None:
                _export(model, aside / kind, images, images_of_int8)
        aside.chmod(0o755)  # mkdtemp makes private folders
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ModelFile(model.card, folder / model.path.name)


def check_folder(folder: Path) -> None:
    """Raise SettingsError if a model cannot be written to a folder because something is there."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SettingsError(f"{folder} holds something already; name a new folder")


def _export(model: ModelFile, folder: Path, images: Sequence[ImageFile], calibration: Calibration | None) -> None:
    if model.card.task == "classification":
        from pelee.classification.export import ClassifierCheck, export_classifier

        export_classifier(model, folder, "openvino", ClassifierCheck(images), calibration=calibration)
    else:
        from detection.export.export import export_detector
        from detection.export.verification import DetectorCheck

        export_detector(model, folder, "openvino", DetectorCheck(images), nms=False, calibration=calibration)


def _detector(file: Path, network: Pelee | PeleePort, options: ImportOptions, source: str) -> ImportedModel:
    config = network.config
    names = name_classes(config.num_classes, options.classes)
    card = _detector_card(file, config, options, source, names.names, preprocessing_of(network.backbone))
    sizes = ", ".join(f"{100 * size:g}" for size in config.prior_sizes)
    summary = (
        f"Pelee ({source}), {config.num_classes} classes ({names.source}), input {config.input_size} px, "
        f"priors of {sizes} % of it"
    )
    return ImportedModel(network, card, summary)


def _torchvision(file: Path, state: Mapping[str, Tensor], options: ImportOptions) -> ImportedModel:
    if options.prior_sizes is not None:
        raise SettingsError(f"--prior-sizes is for Pelee, and {file} holds a detector of torchvision: leave it out")
    network, names, suppression = torchvision_detector(state, file, options.classes, options.input_size)
    config, source = network.config, "torchvision"
    card = _detector_card(file, config, options, source, names.names, torchvision_preprocessing(network))
    summary = (
        f"{config.architecture} ({source}), {config.num_classes} classes ({names.source}), input {config.input_size} px"
    )
    return ImportedModel(network, replace(card, suppression=suppression), summary)


def _detector_card(
    file: Path,
    config: DetectorConfig,
    options: ImportOptions,
    source: str,
    class_names: list[str],
    preprocessing: dict[str, Any],
) -> Card:
    return Card(
        name=options.name,
        task="detection",
        architecture=config.architecture,
        architecture_settings=to_settings(config),
        class_names=class_names,
        input_size=config.input_size,
        preprocessing=preprocessing,
        training=_training(file, options, source),
    )


def _classifier(file: Path, network: nn.Module, options: ImportOptions, source: str) -> ImportedModel:
    num_classes = len(network.state_dict()["classifier.1.bias"])
    names = name_classes(num_classes, options.classes)
    size = options.input_size or MODELS["peleenet"].input_size
    card = Card(
        name=options.name,
        task="classification",
        architecture="peleenet",
        architecture_settings=settings_of(network, {}),
        class_names=names.names,
        input_size=size,
        preprocessing=preprocessing_of(network),
        training=_training(file, options, source),
    )
    return ImportedModel(network, card, f"PeleeNet ({source}), {num_classes} classes ({names.source}), input {size} px")


def _training(file: Path, options: ImportOptions, source: str) -> dict[str, object]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {
        "command": options.command,
        "commit": current_commit(),
        "settings": {},
        "data": f"unknown: imported from {source}",
        "started_from": f"{file.name}, SHA-256 {digest}",
    }
