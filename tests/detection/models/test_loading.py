"""From a network to its folder and back, every refusal on the way, and starting from other weights."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.errors import SettingsError, WeightsError
from detection.models.loading import class_rows, load_network, to_config, to_settings
from detection.models.pelee import Pelee, PeleeConfig
from detection.models.priors import COCO_SIZES
from detection.training.model_card import make_card
from pelee.models.peleenet import PeleeNetConfig
from pelee.models.pretrained import load_partial, load_pretrained
from weights.card import CARD_NAME, Card
from weights.store import ModelFile, load_tensors, resolve, save_model

CONFIG = PeleeConfig(
    num_classes=3,
    input_size=64,
    prior_sizes=COCO_SIZES,
    backbone=PeleeNetConfig(blocks=(1, 1, 1, 1), growth_rate=8, stem_channels=8, transitions=(8, 12, 16, 24)),
)
NAMES = ["cat", "dog", "bird"]


@pytest.fixture(scope="module")
def network() -> Pelee:
    torch.manual_seed(0)
    return Pelee(CONFIG).eval()


def tensors_of(network: Pelee) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


TRAINING = {
    "command": "pelee-train",
    "commit": "abc",
    "settings": {"lr": 0.01},
    "data": "pets train: 3 images, 5 objects",
    "started_from": "pelee-voc",
}


def card(**changes: Any) -> Card:
    return dataclasses.replace(make_card("pets", CONFIG, NAMES, TRAINING), **changes)


# Cards


def test_card_describes_network_and_training() -> None:
    made = card()
    assert made.task == "detection" and made.architecture == "pelee"
    assert made.class_names == NAMES and made.input_size == 64
    assert made.training == TRAINING


def test_settings_leave_out_what_the_card_has() -> None:
    settings = to_settings(CONFIG)
    assert "num_classes" not in settings and "input_size" not in settings
    assert settings["backbone"]["blocks"] == (1, 1, 1, 1)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        PeleeConfig(num_classes=3),
        PeleeConfig(num_classes=3, input_size=320, res_blocks=False, head_kernel=3, use_38x38=True),
        PeleeConfig(num_classes=3, backbone=PeleeNetConfig(activation="pre", two_way=False, stem="plain")),
    ],
    ids=["small", "default", "switched", "pre"],
)
def test_config_survives_the_card(config: PeleeConfig) -> None:
    """Through JSON, which knows no tuples."""
    made = card(architecture_settings=to_settings(config), input_size=config.input_size)
    read = Card(**json.loads(made.to_json()))
    assert to_config(ModelFile(read, Path("model.safetensors"))) == config


# There and back


@pytest.mark.slow
def test_round_trip(network: Pelee, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    save_model(tmp_path, tensors_of(network), card(), half=False)
    loaded = load_network(resolve(tmp_path))
    assert not loaded.training and loaded.config == CONFIG
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        for got, expected in zip(loaded(images), network(images), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.slow
def test_round_trip_in_half_precision(network: Pelee, tmp_path: Path) -> None:
    """Matrices come back rounded to float16, batch norms as they were, and everything in float32."""
    model = save_model(tmp_path, tensors_of(network), card())
    assert model.card.parameters == sum(p.numel() for p in network.parameters())
    loaded = load_network(model).state_dict()
    for name, tensor in network.state_dict().items():
        expected = tensor.half().float() if tensor.ndim >= 2 else tensor
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], expected), name


# Refusals


def refused(tmp_path: Path, tensors: dict[str, np.ndarray], made: Card) -> str:
    """The one-line error of loading this."""
    model = save_model(tmp_path, tensors, made)
    with pytest.raises(WeightsError) as error:
        load_network(model)
    message = str(error.value)
    assert "\n" not in message and str(tmp_path) in message
    return message


@pytest.mark.slow
def test_class_count_that_does_not_fit(network: Pelee, tmp_path: Path) -> None:
    """Three classes and the background, for six priors a cell: 24 channels; two of them: 18."""
    message = refused(tmp_path, tensors_of(network), card(class_names=NAMES[:2]))
    assert "heads.0.classify.weight is (24, 256, 1, 1), expected (18, 256, 1, 1) for 2 classes" in message


@pytest.mark.slow
def test_missing_tensor(network: Pelee, tmp_path: Path) -> None:
    tensors = tensors_of(network)
    del tensors["heads.3.regress.bias"]
    assert "lacks the tensor heads.3.regress.bias" in refused(tmp_path, tensors, card())


@pytest.mark.slow
def test_extra_tensor(network: Pelee, tmp_path: Path) -> None:
    tensors = tensors_of(network) | {"backbone.classifier.1.bias": np.zeros(3, np.float32)}
    assert "has a tensor backbone.classifier.1.bias that the card's network lacks" in refused(tmp_path, tensors, card())


def test_other_architecture(network: Pelee, tmp_path: Path) -> None:
    message = refused(tmp_path, tensors_of(network), card(architecture="peleenet"))
    assert "holds a 'peleenet'; expected a detector, 'pelee'" in message


@pytest.mark.slow
def test_other_design(network: Pelee, tmp_path: Path) -> None:
    settings = to_settings(dataclasses.replace(CONFIG, head_kernel=3))
    message = refused(tmp_path, tensors_of(network), card(architecture_settings=settings))
    assert "heads.0.classify.weight is (24, 256, 1, 1), expected (24, 256, 3, 3)" in message


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"head_colour": "red"}, "'head_colour'"),
        ({"backbone": {"depth": 41}}, "'depth'"),
        ({"backbone": [3, 4, 8, 6]}, "must be a mapping"),
        ({"backbone": {"blocks": 3}}, "'int'"),
    ],
)
def test_settings_that_no_pelee_has(network: Pelee, tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    settings = to_settings(CONFIG) | changes
    message = refused(tmp_path, tensors_of(network), card(architecture_settings=settings))
    assert "the card's architecture_settings do not fit" in message and fault in message


def test_settings_without_a_backbone(network: Pelee, tmp_path: Path) -> None:
    settings = {key: value for key, value in to_settings(CONFIG).items() if key != "backbone"}
    assert "'backbone'" in refused(tmp_path, tensors_of(network), card(architecture_settings=settings))


def test_input_size_that_does_not_fit() -> None:
    with pytest.raises(SettingsError, match="input size 100 does not fit"):
        to_config(ModelFile(card(architecture_settings=to_settings(CONFIG), input_size=100), Path("model.safetensors")))


@pytest.mark.slow
def test_a_damaged_file_is_not_loaded(network: Pelee, tmp_path: Path) -> None:
    model = save_model(tmp_path, tensors_of(network), card())
    content = bytearray(model.path.read_bytes())
    content[-1] ^= 1
    model.path.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_network(model)


@pytest.mark.slow
def test_a_card_of_another_model_is_not_followed(network: Pelee, tmp_path: Path) -> None:
    """The card alone edited by hand: more names than the weights have classes."""
    save_model(tmp_path, tensors_of(network), card())
    path = tmp_path / CARD_NAME
    path.write_text(path.read_text().replace('"bird"', '"bird",\n    "fish"'))
    with pytest.raises(WeightsError, match="for 4 classes; the card and the weights do not fit"):
        load_network(resolve(tmp_path))


# Starting from other weights


@pytest.mark.slow
def test_transfer_of_the_same_classes_takes_everything(network: Pelee) -> None:
    other = Pelee(CONFIG)
    result = load_partial(other, tensors_of(network))
    assert set(result.taken) == set(network.state_dict())
    assert not result.replaced and not result.missing and not result.unused
    assert str(result) == f"took {len(network.state_dict())} tensors"
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.slow
def test_transfer_to_other_classes_says_what_is_replaced(network: Pelee) -> None:
    other = Pelee(dataclasses.replace(CONFIG, num_classes=5))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    result = load_partial(other, tensors_of(network))
    classifiers = {f"heads.{head}.classify.{kind}" for head in range(6) for kind in ("weight", "bias")}
    assert set(result.replaced) == classifiers
    assert set(result.taken) == set(before) - classifiers
    assert not result.missing and not result.unused
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, before[name] if name in classifiers else network.state_dict()[name]), name
    text = str(result)
    assert "replaced (another shape): 12 tensors of heads.0.classify, heads.1.classify" in text and "\n" not in text


@pytest.mark.slow
def test_transfer_names_what_is_new_and_what_is_left(network: Pelee) -> None:
    """To a network without residual prediction blocks, whose heads see maps of other widths."""
    other = Pelee(dataclasses.replace(CONFIG, res_blocks=False))
    result = load_partial(other, tensors_of(network))
    assert result.unused and all(name.startswith("blocks.") for name in result.unused)
    assert set(result.replaced) == {
        f"heads.{head}.{part}.weight" for head in range(3) for part in ("classify", "regress")
    }
    back = load_partial(Pelee(CONFIG), tensors_of(other))
    assert set(back.missing) == set(result.unused)
    assert "new (not in the weights)" in str(back) and "left (no place for them)" in str(result)
    assert " more" in str(back)  # the list is cut short


def test_transfer_takes_statistics_too(network: Pelee) -> None:
    tensors = tensors_of(network)
    name = "extras.0.reduce.1.running_var"
    tensors[name] = np.full_like(tensors[name], 7)
    other = Pelee(CONFIG)
    load_partial(other, tensors)
    assert (other.state_dict()[name] == 7).all()


def test_transfer_copies(network: Pelee) -> None:
    tensors = tensors_of(network)
    other = Pelee(CONFIG)
    load_partial(other, tensors)
    tensors["heads.0.classify.bias"] += 1
    assert torch.equal(other.state_dict()["heads.0.classify.bias"], network.state_dict()["heads.0.classify.bias"])


def test_transfer_of_nothing_is_an_error() -> None:
    with pytest.raises(WeightsError, match="no tensor has a name and shape of this network's"):
        load_partial(Pelee(CONFIG), {"conv1.weight": np.zeros((8, 3, 3, 3), np.float32)})


@pytest.mark.slow
def test_tensors_of_a_file_start_another(network: Pelee, tmp_path: Path) -> None:
    model = save_model(tmp_path, tensors_of(network), card())
    assert len(load_partial(Pelee(CONFIG), load_tensors(model)).taken) == len(network.state_dict())


# Classes by name


@pytest.mark.slow
def test_heads_follow_the_class_names(network: Pelee, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old classes cat, dog, bird; new ones bird, fish, cat: every logit is that of the same class."""
    saved = save_model(tmp_path / "pets", tensors_of(network), card())
    torch.manual_seed(1)
    names = ("bird", "fish", "cat")
    other = Pelee(CONFIG).eval()
    own = tensors_of(other)
    start, taken = load_pretrained(other, str(tmp_path / "pets"), class_rows(other, names))
    assert start.startswith("pets, SHA-256 ")
    printed = capsys.readouterr().out
    assert "the dataset and pets are matched by name: 2 in both (bird, cat)" in printed
    assert "1 of the dataset only (fish)" in printed and "1 of pets only (dog)" in printed
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        (before, _), (after, _) = load_network(saved)(image), other(image)  # weights are stored as float16
    torch.testing.assert_close(after[..., [0, 1, 3]], before[..., [0, 3, 1]])
    layer = "heads.0.classify"
    assert not {name for name in taken if ".classify." in name}  # it has rows that are new: it trains
    fish = other.state_dict()[f"{layer}.weight"].reshape(6, 4, -1)[:, 2]
    np.testing.assert_array_equal(fish, own[f"{layer}.weight"].reshape(6, 4, -1)[:, 2])


@pytest.mark.slow
def test_heads_without_a_common_class_start_anew(network: Pelee, tmp_path: Path) -> None:
    save_model(tmp_path / "pets", tensors_of(network), card())
    torch.manual_seed(1)
    other = Pelee(CONFIG).eval()
    own = tensors_of(other)
    _, taken = load_pretrained(other, str(tmp_path / "pets"), class_rows(other, ("car", "bus", "van")))
    np.testing.assert_array_equal(other.state_dict()["heads.0.classify.weight"], own["heads.0.classify.weight"])
    assert "heads.0.regress.weight" in taken and "heads.0.classify.weight" not in taken


@pytest.mark.slow
def test_a_subset_of_the_classes_takes_their_rows(network: Pelee, tmp_path: Path) -> None:
    saved = save_model(tmp_path / "pets", tensors_of(network), card())
    small = Pelee(dataclasses.replace(CONFIG, num_classes=1)).eval()
    _, taken = load_pretrained(small, str(tmp_path / "pets"), class_rows(small, ("dog",)))
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(small(image)[0], load_network(saved)(image)[0][..., [0, 2]])
    assert set(taken) == set(small.state_dict())
