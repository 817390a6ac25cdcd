"""Every model of the registry, by its name alone: a step of training, its card, and an export that is the same."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import WeightsError
from pelee.classification.export import ClassifierCheck, export_classifier
from pelee.classification.inference_model import ClassificationGraph
from pelee.classification.loading import load_network, settings_of
from pelee.export.exporter import export
from pelee.export.graph import Graph
from pelee.models.registry import MODELS, build
from pelee.models.tiny_densenet import TinyDenseNet1
from pelee.training.trainer import to_tensors
from tests.support.tiny_classifier import save_images
from weights.card import Card
from weights.store import ModelFile, save_model

pytestmark = pytest.mark.slow

CLASSES = 10
# Sides in pixels: what is quick, but where a network needs more, or where less would do.
TRAINED = {"tiny-densenet-1": 16, "tiny-densenet-2": 16, "inception-v3": 299}
EXPORTED = TRAINED | {"inception-v3": 75}
USUAL = 32
HUGE = 50_000_000  # parameters: hundreds of megabytes to write and read
ALIKE = {"peleenet-m6", "densenet-161", "densenet-169", "densenet-201"}  # of peleenet and densenet-121


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def trained(name: str) -> Iterator[tuple[nn.Module, tuple[Tensor, ...]]]:
    """The network after the backward pass of one step, and what it gave: logits, and auxiliary ones where it has them.

    Its batch norms hold that batch's statistics, so that nothing dies out or explodes in eval mode.
    """
    torch.manual_seed(0)
    network = build(name, CLASSES, {}).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    side = TRAINED.get(name, USUAL)
    outputs = network(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.stack([F.cross_entropy(logits, torch.tensor([1, 3])) for logits in outputs]).sum().backward()
    yield network, outputs


def save(name: str, network: nn.Module, folder: Path) -> ModelFile:
    card = Card(
        name=name,
        task="classification",
        architecture=name,
        architecture_settings=settings_of(network, {}),
        class_names=[f"class {label}" for label in range(CLASSES)],
        input_size=EXPORTED.get(name, USUAL),
    )
    return save_model(folder, to_tensors(network), card, half=False)


def test_a_step_of_training(trained: tuple[nn.Module, tuple[Tensor, ...]]) -> None:
    network, outputs = trained
    assert len(outputs) in (1, 2) and all(logits.shape == (2, CLASSES) for logits in outputs)
    gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    assert not [name for name, gradient in gradients.items() if gradient is None]
    norm = nn.utils.get_total_norm([gradient for gradient in gradients.values() if gradient is not None])
    assert norm.isfinite() and norm > 0  # of all: one number that is not finite would be in it


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:FutureWarning")
def test_card_and_export(name: str, trained: tuple[nn.Module, tuple[Tensor, ...]], tmp_path: Path) -> None:
    """By way of a card and a file, as pelee-export does it, fused; what was written gives the same for a batch of
    another size."""
    network = trained[0].eval()
    if name in ALIKE or sum(p.numel() for p in network.parameters()) > HUGE:
        pytest.skip("too large" if name not in ALIKE else "as another, with other numbers")
    source = save(name, network, tmp_path / "source")
    side = source.card.input_size
    pictures = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8)
    with torch.no_grad():
        (expected,) = ClassificationGraph(network)(pictures)
    assert expected.shape == (3, CLASSES)

    def verify(made: ModelFile) -> dict[str, Any]:
        with torch.no_grad(), torch.jit.optimized_execution(False):  # optimising takes longer than all else here
            (found,) = torch.jit.load(str(made.path))(pictures)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        return {}

    graph = Graph(ClassificationGraph(load_network(source)).eval(), ("probabilities",))
    export(source, graph, tmp_path / "made", "torchscript", verify)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["cnn-795k", "tiny-densenet-1"])
def test_unusual_networks_as_onnx(chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have what no other has: a permutation and an even kernel, space-to-depth."""
    monkeypatch.setattr(TinyDenseNet1, "widths", ((4, 8), (4, 8), (4, 8)))
    torch.manual_seed(0)
    photos = sorted(save_images(tmp_path / "photos", 3).iterdir())
    source = save(chosen, build(chosen, CLASSES, {}), tmp_path / "source")
    made = export_classifier(source, tmp_path / "made", "onnx", ClassifierCheck(photos))
    assert made.export is not None and made.export.verification["pictures"] == 3
    assert made.export.verification["largest_probability_difference"] < 1e-4


def test_a_card_with_settings_that_do_not_fit(tmp_path: Path) -> None:
    source = save("alexnet-32", build("alexnet-32", CLASSES, {}), tmp_path)
    wrong = replace(source, card=replace(source.card, architecture_settings={"depth": 3}))
    with pytest.raises(WeightsError, match=r"the card's architecture_settings do not fit: .*'depth'"):
        load_network(wrong)
