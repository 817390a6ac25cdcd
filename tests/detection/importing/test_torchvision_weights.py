"""torchvision's detectors: parity on photos with random weights, labels without a class, and what does not fit."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection import SSD300_VGG16_Weights
from torchvision.models.detection import ssdlite as torchvision_ssdlite

from data.boxes import box_iou
from data.errors import PeleeError, SettingsError
from data.images.image_io import read_image
from data.images.preprocess import FLOAT_WARP, preprocess
from detection.detector import Detector
from detection.importing.import_model import ImportedModel, ImportOptions, read_model, write_model
from detection.importing.torchvision_weights import torchvision_detector
from detection.models.inference_model import DetectionGraph
from detection.models.ssdlite_mobilenetv3 import FULL_CHANNELS, REDUCED_CHANNELS
from pelee.models.layers import fuse_conv_bn
from pelee.models.pretrained import load_pretrained
from tests.support.paths import ROOT
from tests.support.torchvision_models import SSD, SSDLITE, random_model, raw_outputs

SCORE, PIXELS = 1e-4, 0.01
SAMPLES = [ROOT / "data" / "samples" / name for name in ("astronaut.jpg", "chelsea.jpg")]
CATEGORIES = SSD300_VGG16_Weights.COCO_V1.meta["categories"]


def save(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def ssdlite() -> nn.Module:
    return random_model(SSDLITE, head=0.45)


@pytest.fixture(scope="module")
def ssdlite_file(ssdlite: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(ssdlite.state_dict(), tmp_path_factory.mktemp("torchvision") / "ssdlite.pth")


@pytest.fixture(scope="module")
def imported(ssdlite_file: Path) -> ImportedModel:
    return read_model(ssdlite_file, ImportOptions("mine"))


def check_parity(model: Any, imported: ImportedModel, fused: bool) -> None:
    """In float64: in float32 the two networks' roundings differ by up to 0.011 pixels, depending on the processor."""
    size, card = imported.card.input_size, imported.card
    model = deepcopy(model).double()
    graph = DetectionGraph(imported.network).double().eval()  # type: ignore[arg-type]
    graph = fuse_conv_bn(graph) if fused else graph  # type: ignore[assignment]
    labels = [CATEGORIES.index(name) for name in card.class_names]
    for path in SAMPLES:
        image = read_image(path)
        expected, expected_boxes, _ = raw_outputs(model, torch.from_numpy(image).permute(2, 0, 1).double() / 255)
        with torch.inference_mode():
            scores, boxes = graph(torch.from_numpy(preprocess(image, size, card.resize))[None])
        assert scores[0].max() > 0.05
        assert (scores[0] - expected[:, labels]).abs().max() < SCORE
        assert (boxes[0] * size - expected_boxes).abs().max() < PIXELS


@pytest.mark.slow
@pytest.mark.parametrize("fused", [False, True])
def test_ssdlite_agrees_with_torchvision(ssdlite: nn.Module, ssdlite_file: Path, fused: bool) -> None:
    check_parity(ssdlite, read_model(ssdlite_file, ImportOptions("mine")), fused)


@pytest.mark.slow
def test_ssd300_agrees_with_torchvision(tmp_path: Path) -> None:
    model = random_model(SSD, head=1.5)
    imported = read_model(save({"model": model.state_dict()}, tmp_path / "ssd.pth"), ImportOptions("mine"))  # type: ignore[dict-item]
    check_parity(model, imported, fused=True)
    assert imported.card.suppression == {"score": 0.01, "iou": 0.45, "candidates": 400, "keep": 200}
    assert imported.card.preprocessing["mean"] == [122.99925, 116.9991, 103.9992]
    assert imported.card.preprocessing["scale"] == [1.0, 1.0, 1.0]


@pytest.mark.slow
def test_rounded_pixels_would_not_agree(ssdlite: nn.Module, imported: ImportedModel) -> None:
    """Why the card asks for another resizing: that of the other models changes scores by more than the limit."""
    image = read_image(SAMPLES[0])
    expected, _, _ = raw_outputs(ssdlite, torch.from_numpy(image).permute(2, 0, 1) / 255)
    labels = [CATEGORIES.index(name) for name in imported.card.class_names]
    with torch.inference_mode():
        scores, _ = DetectionGraph(imported.network).eval()(torch.from_numpy(preprocess(image, 320))[None])  # type: ignore[arg-type]
    assert (scores[0] - expected[:, labels]).abs().max() > SCORE


@pytest.mark.slow
def test_card_has_cocos_classes_and_torchvisions_choices(imported: ImportedModel) -> None:
    card = imported.card
    assert card.class_names == [name for name in CATEGORIES if name not in ("__background__", "N/A")]
    assert (card.architecture, card.input_size, card.resize) == ("ssdlite320-mobilenetv3", 320, FLOAT_WARP)
    assert card.preprocessing["mean"] == [127.5] * 3
    assert card.suppression == {"score": 0.001, "iou": 0.55, "candidates": 300, "keep": 300}
    assert "80 classes (COCO's names; 10 labels without a class are background)" in imported.summary


@pytest.mark.slow
def test_folder_detects_as_torchvision_does(ssdlite: nn.Module, imported: ImportedModel, tmp_path: Path) -> None:
    """The whole way by OpenVINO: file, folder, verified export, light path; all detections of an evaluation."""
    write_model(imported, tmp_path / "mine", SAMPLES[:1])
    detector = Detector.load(tmp_path / "mine", runtime="openvino")
    image = read_image(SAMPLES[1])
    _, _, expected = raw_outputs(ssdlite, torch.from_numpy(image).permute(2, 0, 1) / 255)
    (found,) = detector.predict_batch([image])
    names = [CATEGORIES[label] for label in expected["labels"].tolist()]
    known = [index for index, name in enumerate(names) if name != "N/A"][:100]
    assert len(known) == 100 and len(found.scores) == 300
    for index in known:
        box = expected["boxes"][index].numpy()
        same = found.labels == detector.class_names.index(names[index])
        same &= np.abs(found.scores - float(expected["scores"][index])) < SCORE
        assert same.any() and box_iou(box, found.boxes[same]).max() > 0.999


@pytest.mark.slow
def test_training_from_a_classifier_has_the_full_tail(tmp_path: Path) -> None:
    """torchvision keeps 960 channels where a training starts from a classifier's weights."""
    with torch.device("meta"):
        reduced, full = mobilenet_v3_large(reduced_tail=True), mobilenet_v3_large(reduced_tail=False)
    channels = [network.features[-1][0].out_channels for network in (reduced, full)]
    assert channels == [REDUCED_CHANNELS, FULL_CHANNELS]
    model = random_model(full_tail, head=0.45, num_classes=21)
    made = read_model(save(model.state_dict(), tmp_path / "a.pth"), ImportOptions("mine"))
    assert made.card.architecture_settings["reduced_tail"] is False and made.card.class_names[0] == "aeroplane"


def full_tail(num_classes: int) -> nn.Module:
    """torchvision's model as built with weights of a classifier, which are not downloaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torchvision_ssdlite,
            "mobilenet_v3_large",
            lambda **ignored: mobilenet_v3_large(norm_layer=ignored["norm_layer"], reduced_tail=False),
        )
        model: nn.Module = SSDLITE(num_classes=num_classes)
    return model


def refused(state: dict[str, Tensor], **options: Any) -> str:
    with pytest.raises(PeleeError) as error:
        torchvision_detector(state, Path("a.pth"), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.slow
def test_what_does_not_fit_is_one_line(ssdlite: nn.Module, ssdlite_file: Path) -> None:
    state = dict(ssdlite.state_dict())
    last = "head.regression_head.module_list.5.1.weight"
    assert f"a.pth: has no tensor {last}" in refused({k: v for k, v in state.items() if k != last})
    assert f"tensor {last} has the shape 24×1, expected 24×128×1×1" in refused(state | {last: torch.zeros(24, 1)})
    extra = refused(state | {"roi_heads.mask": torch.zeros(1)})
    assert "has a tensor roi_heads.mask, which torchvision's network lacks" in extra
    bias = "head.classification_head.module_list.0.1.bias"
    assert "has the shape 547, expected 6 × (classes + 1)" in refused(state | {bias: torch.zeros(547)})
    assert "has the shape 6×91, expected 6 × (classes + 1)" in refused(state | {bias: torch.zeros(6, 91)})
    assert "has an input of 320 pixels, not 512" in refused(state, input_size=512)
    with pytest.raises(SettingsError, match="--prior-sizes is for Pelee"):
        read_model(ssdlite_file, ImportOptions("mine", prior_sizes="voc"))


@pytest.mark.slow
def test_other_classes_need_names(ssdlite: nn.Module, tmp_path: Path) -> None:
    state, names = random_model(SSDLITE, head=0.45, num_classes=4).state_dict(), tmp_path / "names.txt"
    assert (
        refused(state)
        == "the weights have 3 classes without names; give them with --classes FILE, one per line in their order"
    )
    names.write_text("cat\ndog\ncow\n")
    made = torchvision_detector(state, Path("a.pth"), names)
    assert made.classes.names == ["cat", "dog", "cow"]
    assert made.network.background_outputs == 1
    names.write_text("cat\n")
    expected = "names.txt has 1 class names, the weights have 90 classes"
    assert expected in refused(dict(ssdlite.state_dict()), class_file=names)


@pytest.mark.slow
def test_training_takes_the_rows_of_its_classes(imported: ImportedModel, tmp_path: Path) -> None:
    """A training has one logit of background; those of its classes start from the rows of the same name."""
    from detection.models.loading import class_rows, to_config
    from detection.models.ssdlite_mobilenetv3 import SSDLite320, SSDLite320Config
    from detection.training.model_card import check_design
    from weights.store import save_model

    tensors = {name: tensor.numpy() for name, tensor in imported.network.state_dict().items()}
    model = save_model(tmp_path / "mine", tensors, imported.card, half=False)
    network = SSDLite320(SSDLite320Config(num_classes=2))
    check_design(network.config, to_config(model), "mine")
    load_pretrained(network, str(tmp_path / "mine"), class_rows(network, ("zebra", "gnu")))
    theirs = imported.network.get_submodule("heads.2.classify.1").weight.unflatten(0, (6, 91))  # type: ignore[union-attr,operator]
    own = network.get_submodule("heads.2.classify.1").weight.unflatten(0, (6, 3))  # type: ignore[union-attr,operator]
    assert torch.equal(own[:, 0], theirs[:, 0])
    assert torch.equal(own[:, 1], theirs[:, 11 + imported.card.class_names.index("zebra")])
    assert torch.equal(
        network.backbone.state_dict()["network.features.4.block.0.0.weight"],
        imported.network.state_dict()["backbone.network.features.4.block.0.0.weight"],
    )
