"""A foreign state dict as the start of a training: its names, its errors, and what it computes afterwards."""

from pathlib import Path

import pytest
import torch
import torchvision

from data.errors import WeightsError
from pelee.models.pretrained import last_layer, load_partial, read_state_dict, read_weights
from pelee.models.registry import build

IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


@pytest.mark.slow
def test_torchvision_s_weights_fill_its_network_and_compute_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    library = torchvision.models.mobilenet_v2(num_classes=9).eval()
    torch.save(library.state_dict(), tmp_path / "weights.pth")
    network = build("mobilenet-v2", 9, {"normalization": IMAGENET}).eval()
    filled = load_partial(network, read_weights(tmp_path / "weights.pth", network))
    assert not filled.replaced and not filled.missing and not filled.unused
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    normalize = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.testing.assert_close(network(images), library(normalize(images / 255)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_other_classes_leave_a_new_head(tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v2(num_classes=9).state_dict(), tmp_path / "weights.pth")
    network = build("mobilenet-v2", 4, {})
    filled = load_partial(network, read_weights(tmp_path / "weights.pth", network))
    assert filled.replaced == ["network.classifier.1.weight", "network.classifier.1.bias"]
    assert len(filled.taken) == len(network.state_dict()) - 2


@pytest.mark.slow
def test_the_names_of_torchvision_s_published_densenets(tmp_path: Path) -> None:
    """Their files are of an early release: features.denseblock1.denselayer1.norm.1.weight."""
    library = torchvision.models.densenet121(num_classes=3)
    state = {
        name.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): tensor
        for name, tensor in library.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "densenet.pth")
    assert read_state_dict(tmp_path / "densenet.pth").keys() == library.state_dict().keys()


@pytest.mark.slow
def test_a_network_of_one_s_own_has_its_own_names(tmp_path: Path) -> None:
    """And half floats are read as floats."""
    network = build("hardnet", 4, {})
    torch.save(network.bfloat16().state_dict(), tmp_path / "mine.pth")
    again = build("hardnet", 4, {})
    arrays = read_weights(tmp_path / "mine.pth", again)
    assert load_partial(again, arrays).taken == list(again.state_dict())
    assert torch.equal(again.classifier[1].weight.bfloat16(), network.classifier[1].weight)  # type: ignore[index]


@pytest.mark.parametrize("case", ["absent", "text", "a list", "no tensors", "nothing"])
def test_no_state_dict_is_one_line(case: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    if case == "text":
        file.write_text("no weights")
    elif case != "absent":
        torch.save({"a list": [1, 2], "no tensors": {"epoch": 3}, "nothing": {}}[case], file)
    with pytest.raises(WeightsError) as error:
        read_state_dict(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_the_last_layer_of_a_classifier() -> None:
    assert last_layer(build("peleenet", 7, {}), 7) == ("classifier.1.weight", "classifier.1.bias")
    assert last_layer(build("squeezenet", 64, {}), 64)[0] == "network.classifier.1.weight"  # 64 channels elsewhere, too
    assert last_layer(build("peleenet", 7, {}), 9) == ()
