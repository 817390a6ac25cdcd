"""Import of a file: what it is recognized as, its card, the folder that is written whole or not at all."""

import dataclasses
from pathlib import Path

import pytest
import torch

import detection.importing.import_model as module
from data.errors import PeleeError, WeightsError
from detection.importing.import_model import ImportedModel, ImportOptions, read_model, write_model
from detection.models.loading import load_network
from pelee.classification.loading import load_network as load_classifier
from pelee.models.layers import IMAGENET_MEAN
from tests.support.caffe_teacher import caffe_layer, teacher_layers
from tests.support.paths import ROOT
from tests.support.published_weights import VOC_PERCENT, CaffeNetwork, checkpoint, pattern
from weights.store import resolve

OPTIONS = ImportOptions("mine", command="pelee-import a.caffemodel --output mine")


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CaffeNetwork(1).features().detector().save(tmp_path_factory.mktemp("files") / "pelee.caffemodel")


@pytest.fixture(scope="module")
def detector(detector_file: Path) -> ImportedModel:
    return read_model(detector_file, OPTIONS)


@pytest.fixture
def no_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_export", lambda *arguments: None)


@pytest.mark.slow
def test_detector_has_a_card(detector: ImportedModel) -> None:
    card = detector.card
    assert (card.task, card.architecture, card.input_size, card.class_names[0]) == (
        "detection",
        "pelee",
        304,
        "aeroplane",
    )
    assert card.architecture_settings["prior_sizes"] == (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    assert card.training["command"] == OPTIONS.command
    assert card.training["started_from"].startswith("pelee.caffemodel, SHA-256 ")
    assert "Pelee (Caffe, unmerged (BatchNorm)), 20 classes (VOC's names), input 304 px" in detector.summary


@pytest.mark.slow
def test_folder_holds_the_same_network(detector: ImportedModel, no_exports: None, tmp_path: Path) -> None:
    write_model(detector, tmp_path / "models" / "mine", [])
    model = resolve(tmp_path / "models" / "mine")
    assert dataclasses.replace(model.card, file="", sha256="", parameters=0).to_json() == detector.card.to_json()
    for name, tensor in load_network(model).state_dict().items():
        assert torch.equal(tensor, detector.network.state_dict()[name]), name  # f32: nothing is rounded
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["mine"]


@pytest.mark.slow
def test_failed_export_leaves_nothing(detector: ImportedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*arguments: object) -> None:
        raise WeightsError("the export is not the same detector")

    monkeypatch.setattr(module, "_export", fail)
    with pytest.raises(WeightsError, match="not the same"):
        write_model(detector, tmp_path / "mine", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_folder_with_something_in_it_stays(detector: ImportedModel, no_exports: None, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(PeleeError, match="holds something already"):
        write_model(detector, tmp_path / "mine", [])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_classifiers_of_both_formats_have_a_card(no_exports: None, tmp_path: Path) -> None:
    caffe = CaffeNetwork(2, merged=True, size=224).features().classifier()
    torch.save(checkpoint(2), tmp_path / "a.pth.tar")
    for file, source in (
        (caffe.save(tmp_path / "a.caffemodel"), "Caffe, merged (convolution with bias)"),
        (tmp_path / "a.pth.tar", "PyTorch"),
    ):
        imported = read_model(file, OPTIONS)
        assert imported.summary == f"PeleeNet ({source}), 1000 classes (ImageNet's names), input 224 px"
        assert imported.card.preprocessing["mean"] == list(IMAGENET_MEAN)
        folder = tmp_path / source.partition(",")[0]
        write_model(imported, folder, [])
        network = load_classifier(resolve(folder))
        image = torch.from_numpy(pattern(224)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            torch.testing.assert_close(network(image), imported.network(image))


@pytest.mark.slow
def test_own_classes_have_their_names(tmp_path: Path) -> None:
    file = CaffeNetwork(1).features().detector(2, VOC_PERCENT).save(tmp_path / "a.caffemodel")
    names = tmp_path / "names.txt"
    names.write_text("helmet\nhead\n")
    with pytest.raises(PeleeError, match="2 classes without names"):
        read_model(file, OPTIONS)
    imported = read_model(file, ImportOptions("a", classes=names))
    assert imported.card.class_names == ["helmet", "head"]
    names.write_text("head\nhead\n")
    with pytest.raises(PeleeError, match="every name once"):
        read_model(file, ImportOptions("a", classes=names))


@pytest.mark.slow
def test_other_files_are_refused_in_one_line(tmp_path: Path, detector_file: Path) -> None:
    classifier = tmp_path / "classifier.caffemodel"
    CaffeNetwork(1, size=224).features().classifier(3).save(classifier)
    (tmp_path / "teacher.caffemodel").write_bytes(b"".join(caffe_layer(*layer) for layer in teacher_layers(0)))
    (tmp_path / "cut.caffemodel").write_bytes(detector_file.read_bytes()[:-1000])
    (tmp_path / "deploy.prototxt").write_text(CaffeNetwork(1).features().prototxt())
    torch.save({"layer1.weight": torch.ones(2)}, tmp_path / "resnet.pth")
    shipped = next((ROOT / "weights" / "pelee-voc").glob("*.safetensors"))
    for file, message in (
        (tmp_path / "none.caffemodel", "no such file"),
        (tmp_path, "no such file"),
        (tmp_path / "teacher.caffemodel", "another network"),
        (tmp_path / "cut.caffemodel", "cut short"),
        (tmp_path / "deploy.prototxt", "such as a prototxt"),
        (tmp_path / "resnet.pth", "has no classifier.weight"),
        (shipped, "is not a .caffemodel"),
    ):
        with pytest.raises(PeleeError) as caught:
            read_model(file, OPTIONS)
        assert message in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(PeleeError, match="--prior-sizes is for a detector"):
        read_model(classifier, ImportOptions("a", prior_sizes="voc"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_altered_bytes_are_refused_or_give_a_whole_network(seed: int, detector_file: Path, tmp_path: Path) -> None:
    """Flipped bits in the frame of the file, not in the values of a blob, which carry no checksum."""
    import numpy as np

    content = bytearray(detector_file.read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, 400, 6):
        content[at] ^= 1 << int(rng.integers(8))
    file = tmp_path / "altered.caffemodel"
    file.write_bytes(content)
    try:
        network = read_model(file, OPTIONS).network
    except PeleeError as error:
        assert "\n" not in str(error)
    else:
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
