"""Registry of networks: settings, lazy imports, names."""

import subprocess
import sys

import pytest
import torch

from data.errors import SettingsError
from pelee.models.backbone import LibraryBackbone
from pelee.models.layers import Normalize
from pelee.models.peleenet import PeleeNet
from pelee.models.registry import MODELS, build, choose, create_backbone


def test_names() -> None:
    assert choose([], MODELS) == list(MODELS)
    assert choose(["peleenet"], MODELS) == ["peleenet"]
    with pytest.raises(SettingsError, match="no model 'pelenet'; did you mean 'peleenet'"):
        build("pelenet", 5, {})


@pytest.mark.slow
def test_every_network_builds_with_its_number_of_classes() -> None:
    for name, entry in MODELS.items():
        with torch.device("meta"):
            network = build(name, 5, {}).eval()
            assert network(torch.zeros(1, 3, entry.input_size, entry.input_size)).shape == (1, 5), name


@pytest.mark.slow
def test_normalization_is_a_setting_of_every_network() -> None:
    network = build("tiny-densenet-1", 5, {"normalization": {"mean": [1, 2, 3], "std": [4, 5, 6]}})
    assert isinstance(network.normalize, Normalize)
    assert network.normalize.settings == {"mean": (1, 2, 3), "std": (4, 5, 6)}


@pytest.mark.slow
def test_backbones() -> None:
    assert isinstance(create_backbone("peleenet"), PeleeNet)
    assert isinstance(create_backbone("mobilenetv3_small_100"), LibraryBackbone)


@pytest.mark.parametrize("name", ["squeezenet", "mobilenet-v1", "vgg16", "densenet-121", "ghostnet"])
def test_a_setting_that_a_network_lacks(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} cannot be built with: .*unexpected keyword argument 'depths'"):
        build(name, 5, {"depths": 3})


@pytest.mark.slow
def test_the_libraries_are_imported_when_a_network_is_built() -> None:
    code = "import sys, pelee.models.registry; print(*({'torchvision', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stdout.split(), done.stderr + done.stdout
