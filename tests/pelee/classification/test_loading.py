"""Loading of classification networks, and the card entries that describe them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.errors import WeightsError
from data.images.preprocess import MEAN, SCALE
from pelee.classification.loading import load_network, preprocessing_of, settings_of
from pelee.models.peleenet import PeleeNet
from pelee.models.registry import build
from tests.support.tiny_classifier import CONFIG, NAMES, save_small
from weights.store import load_tensors

SMALL = {"blocks": (1, 1, 1, 1), "growth_rate": 8, "stem_channels": 8}
GIVEN = {"mean": [120.0, 110.0, 100.0], "std": [60.0, 50.0, 40.0]}


def test_load_network_has_the_file_s_weights_in_eval_mode(tmp_path: Path) -> None:
    model = save_small(tmp_path / "small")
    network = load_network(model)
    assert isinstance(network, PeleeNet) and not network.training and network.config == CONFIG
    tensors = load_tensors(model)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, torch.from_numpy(tensors[name])), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "detection"}, "holds a 'peleenet' for detection; expected a classifier: "),
        ({"architecture": "resnet0"}, "holds a 'resnet0' for classification; expected a classifier: "),
        ({"architecture_settings": {"depth": 3}}, "the card's architecture_settings do not fit: "),
        ({"class_names": NAMES[:3]}, "classifier"),
    ],
)
def test_load_network_with_a_card_that_does_not_fit_is_one_line(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    model = save_small(tmp_path / "small")
    with pytest.raises(WeightsError) as error:
        load_network(replace(model, card=replace(model.card, **changes)))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_settings_of_is_the_config_and_a_normalization_other_than_the_default() -> None:
    network = build("peleenet", 5, SMALL)
    assert settings_of(network, {})["growth_rate"] == 8 and "normalization" not in settings_of(network, {})
    given = build("peleenet", 5, SMALL | {"normalization": GIVEN})
    assert {key: list(value) for key, value in settings_of(given, {})["normalization"].items()} == GIVEN


def test_preprocessing_of_is_the_network_s_normalization() -> None:
    network = build("peleenet", 5, SMALL)
    expected = {"colour_order": "RGB", "resize": "warp", "mean": list(MEAN), "scale": SCALE}
    assert preprocessing_of(network) == expected
    grey = preprocessing_of(build("peleenet", 5, SMALL | {"normalization": GIVEN | {"grey": True}}))
    assert grey["mean"] == GIVEN["mean"] and grey["scale"] == [1 / std for std in GIVEN["std"]] and grey["grey"] is True
