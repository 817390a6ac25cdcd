"""Normalization of a network: from the dataset to the graph, the card, the exports and fine-tuning."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.classification.image_folder import open_image_folder
from data.errors import SettingsError, WeightsError
from data.images.image_io import find_images, read_image, write_image
from data.images.preprocess import MEAN, SCALE
from pelee.classification.classifier import Classifier, load_session
from pelee.classification.export import ClassifierCheck, export_classifier
from pelee.classification.loading import load_network, preprocessing_of, settings_of
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.normalization import channel_statistics
from pelee.models.layers import Normalize
from pelee.models.registry import build
from tests.support.classifier_command import train_quickly
from tests.support.color_folders import make_folders
from tests.support.tiny_training import Stop, watch
from weights.store import resolve

GIVEN = {"mean": [120.0, 110.0, 100.0], "std": [60.0, 50.0, 40.0]}
SMALL = {"blocks": (1, 1, 1, 1), "growth_rate": 8, "stem_channels": 8}


def images(count: int = 2, side: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


# The layer


def test_normalize_default_is_the_paper_s_bit_for_bit() -> None:
    x = images()
    usual = (x.float() - torch.tensor(MEAN).view(1, 3, 1, 1)) * SCALE
    assert torch.equal(Normalize()(x), usual) and Normalize().settings == {}
    assert not list(Normalize(**GIVEN, grey=True).state_dict())
    network = build("peleenet", 5, SMALL | {"normalization": {}})
    assert settings_of(network, {}).get("normalization") is None
    card = preprocessing_of(network)
    assert card == {"colour_order": "RGB", "resize": "warp", "mean": list(MEAN), "scale": SCALE}


def test_normalize_with_given_mean_and_std() -> None:
    made = Normalize(**GIVEN)
    for channel in range(3):
        expected = (images()[:, channel].float() - GIVEN["mean"][channel]) / GIVEN["std"][channel]
        assert torch.allclose(made(images())[:, channel], expected, atol=1e-5)
    assert made.settings == {"mean": (120, 110, 100), "std": (60, 50, 40)}


def test_normalize_grey_gives_equal_channels_of_luma() -> None:
    made = Normalize([100.0] * 3, [50.0] * 3, grey=True)(images())
    assert made.shape == (2, 3, 8, 8)
    assert torch.equal(made[:, 0], made[:, 1]) and torch.equal(made[:, 0], made[:, 2])
    red, green, blue = images().float().unbind(1)
    assert torch.allclose(made[:, 0], (0.299 * red + 0.587 * green + 0.114 * blue - 100) / 50, atol=1e-4)
    # a gray image is unchanged
    same = images()[:, :1].expand(2, 3, 8, 8)
    assert torch.allclose(Normalize(grey=True)(same), Normalize()(same), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mean": [1, 2]}, "mean is [1, 2]; expected three numbers"),
        ({"mean": [1, 2, float("nan")]}, "expected three numbers"),
        ({"std": [1, 2, 0]}, "std is [1, 2, 0]; expected numbers above 0"),
    ],
)
def test_invalid_normalization_is_refused(values: dict[str, list[float]], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        build("peleenet", 5, SMALL | {"normalization": values})
    assert words in str(error.value)


# The whole way


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("data") / "colors", 6)


MODEL = ["--model-settings", json.dumps({key: value for key, value in SMALL.items()})]
AUGMENTED = ["--transforms", "[rotate, translate, blur, multiply]", "--epochs", "2"]


@pytest.fixture(scope="module")
def trained(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("grey")
    assert train_quickly(folders, output, *MODEL, *AUGMENTED, "--normalization", "data", "--grey", "true") == 0
    return output


@pytest.mark.slow
def test_data_normalization_is_computed_and_stored_in_the_card(folders: Path, trained: Path) -> None:
    card = resolve(trained / "model").card
    batches = ImageBatches(open_image_folder("imagefolder", folders, "train"), 32)
    assert batches.cache is not None
    pixels = batches.cache.permute(0, 2, 3, 1).numpy() @ np.array([0.299, 0.587, 0.114])
    found = card.architecture_settings["normalization"]
    assert found["mean"] == pytest.approx([pixels.mean()] * 3, abs=6e-4)
    assert found["std"] == pytest.approx([pixels.std()] * 3, abs=6e-4)
    assert found["grey"] is True and card.training["settings"]["normalization"] == "data"
    assert found == channel_statistics(batches).normalization(grey=True)
    assert card.preprocessing["mean"] == found["mean"] and card.preprocessing["grey"] is True
    assert card.preprocessing["scale"] == [1 / std for std in found["std"]]


@pytest.mark.slow
def test_loaded_model_has_the_normalization_of_training(folders: Path, trained: Path) -> None:
    """The graph from the card equals the same weights with normalization by hand; color makes no difference."""
    model = resolve(trained / "model")
    network = load_network(model)
    assert network.normalize.settings["grey"] is True  # type: ignore[union-attr]
    x = images(3, 48)
    with torch.inference_mode():
        logits = network(x)
        found = model.card.architecture_settings["normalization"]
        luma = (x.float() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        by_hand = ((luma - found["mean"][0]) / found["std"][0]).expand(-1, 3, -1, -1)
        network.normalize = torch.nn.Identity()
        assert torch.allclose(network(by_hand), logits, atol=1e-4)
    classifier = Classifier.load(trained / "model", runtime="torch", precision="f32")
    scores = classifier([np.ascontiguousarray(image.permute(1, 2, 0)) for image in x])
    expected = logits.softmax(1).numpy()
    assert np.allclose([score.probabilities for score in scores], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_export_has_the_normalization(form: str, folders: Path, trained: Path, tmp_path: Path) -> None:
    source = resolve(trained / "model")
    files = find_images([folders / "val"])[:6]
    # The export is verified against its source on these images, or it is not written.
    made = export_classifier(source, tmp_path / form, form, ClassifierCheck(files))
    assert made.card.preprocessing == source.card.preprocessing
    runs = Classifier(load_session(made, device="cpu"), made.card)
    torch_runs = Classifier.load(trained / "model", runtime="torch", precision="f32")
    for file in files:
        assert np.allclose(runs(file).probabilities, torch_runs(file).probabilities, atol=2e-3)
    grey = np.repeat((read_image(files[0]) @ np.array([0.299, 0.587, 0.114]))[..., None], 3, 2).round().astype(np.uint8)
    write_image(tmp_path / "grey.png", grey)
    assert np.allclose(runs(tmp_path / "grey.png").probabilities, runs(files[0]).probabilities, atol=5e-3)


@pytest.mark.slow
def test_fine_tuning_keeps_the_normalization_unless_another_is_given(
    folders: Path, trained: Path, tmp_path: Path
) -> None:
    start = [*MODEL, "--weights", str(trained / "model"), "--epochs", "1"]
    before = resolve(trained / "model").card.architecture_settings["normalization"]
    assert train_quickly(folders, tmp_path / "same", *start) == 0
    assert resolve(tmp_path / "same" / "model").card.architecture_settings["normalization"] == before
    assert train_quickly(folders, tmp_path / "other", *start, "--normalization", json.dumps(GIVEN)) == 0
    after = resolve(tmp_path / "other" / "model").card.architecture_settings["normalization"]
    assert after == GIVEN | {"grey": True}


@pytest.mark.slow
def test_run_with_transforms_is_resumed_bit_for_bit(folders: Path, tmp_path: Path) -> None:
    from weights.store import load_tensors

    words = [*MODEL, *AUGMENTED, "--normalization", "data", "--checkpoint-every", "1"]
    assert train_quickly(folders, tmp_path / "straight", *words) == 0

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        watch(patch, stop_at=3)
        train_quickly(folders, tmp_path / "cut", *words)
    assert train_quickly(folders, tmp_path / "cut", *words, "--resume") == 0
    straight = load_tensors(resolve(tmp_path / "straight" / "model"))
    for name, tensor in load_tensors(resolve(tmp_path / "cut" / "model")).items():
        assert np.array_equal(tensor, straight[name]), name


@pytest.mark.slow
def test_card_with_a_damaged_normalization_is_one_line(trained: Path, tmp_path: Path) -> None:
    values = json.loads((trained / "model" / "card.json").read_text())
    values["architecture_settings"]["normalization"] = {"average": [1, 2, 3]}
    for file in (trained / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match="the card's architecture_settings do not fit"):
        load_network(resolve(tmp_path))
