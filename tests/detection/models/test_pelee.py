"""Pelee against the published counts; its shapes at every size, its errors, its decoding, and its label space."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from data.datasets.records import Record
from data.errors import SettingsError
from detection.inference.nms import postprocess
from detection.models.box_coder import decode
from detection.models.heads import PredictionHead
from detection.models.inference_model import DetectionGraph
from detection.models.pelee import Pelee, PeleeConfig, head_map_sizes
from detection.models.priors import COCO_SIZES
from detection.training.loss import multibox_loss
from detection.training.targets import Target, build_targets
from pelee.models.layers import Activation, fuse_conv_bn
from pelee.models.peleenet import PeleeNetConfig

VOC = PeleeConfig()
COCO = PeleeConfig(num_classes=80, prior_sizes=COCO_SIZES)
SMALL_BACKBONE = PeleeNetConfig(blocks=(1, 1, 2, 1), growth_rate=8, stem_channels=8)
SMALL = PeleeConfig(num_classes=3, input_size=64, backbone=SMALL_BACKBONE)
PRIORS_AT_64 = 234  # (4² + 4² + 2² + 1 + 1 + 1) · 6


def on_meta(config: PeleeConfig) -> Pelee:
    """A network without numbers: shapes and counts are there, and nothing is computed."""
    with torch.device("meta"):
        return Pelee(config).eval()


def small(seed: int = 0, **changes: Any) -> Pelee:
    """A small network with weights that a seed gives, and batch norms that are not the identity."""
    torch.manual_seed(seed)
    network = Pelee(replace(SMALL, **changes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5)
    return network


def pictures(count: int = 2, size: int = 64, seed: int = 0) -> Tensor:
    """(N, 3, S, S) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


# Counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "parameters", "millions"),
    [
        pytest.param(VOC, 5_427_172, 1205, id="voc"),
        pytest.param(COCO, 5_982_292, 1284, id="coco"),
        pytest.param(replace(VOC, head_kernel=3), 7_270_372, 1468, id="3x3 heads"),
    ],
)
def test_published_counts(config: PeleeConfig, parameters: int, millions: int) -> None:
    network = on_meta(config)
    assert sum(p.numel() for p in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        logits, offsets = network(torch.zeros(1, 3, 304, 304, device="meta"))
    assert logits.shape == (1, 5142, config.num_classes + 1)
    assert offsets.shape == (1, 5142, 4)
    assert round(counter.get_total_flops() / 2 / 1e6) == millions


def test_published_maps() -> None:
    assert head_map_sizes(304) == (19, 19, 10, 5, 3, 1)
    assert head_map_sizes(304, use_38x38=True) == (38, 19, 10, 5, 3, 1)


# Shapes


@pytest.mark.slow
def test_every_size_has_a_prior_for_every_prediction() -> None:
    config = replace(SMALL, backbone=replace(SMALL_BACKBONE, blocks=(1, 1, 1, 1)))
    for network in (on_meta(config), on_meta(replace(config, use_38x38=True))):
        for size in range(64, 513, 16):
            logits, offsets = network(torch.zeros(1, 3, size, size, device="meta"))
            expected = len(network.priors(size))
            assert logits.shape == (1, expected, 4), size
            assert offsets.shape == (1, expected, 4), size


@pytest.mark.slow
def test_priors_are_of_the_configured_size() -> None:
    assert len(small().priors()) == PRIORS_AT_64
    assert len(small().priors(96)) == (36 + 36 + 9 + 4 + 4 + 4) * 6  # 6, 6, 3, 2, 2, 2 cells a side


@pytest.mark.slow
def test_training_and_evaluation_give_the_same_shapes() -> None:
    network = small()
    shapes = [tuple(t.shape for t in network.train(mode)(pictures())) for mode in (True, False)]
    assert shapes == [((2, PRIORS_AT_64, 4), (2, PRIORS_AT_64, 4))] * 2


def test_uint8_and_float_agree() -> None:
    network, images = small(), pictures()
    for got, expected in zip(network(images.float()), network(images), strict=True):
        assert torch.equal(got, expected)


def test_the_head_of_the_stride_8_map() -> None:
    network = small(use_38x38=True)
    logits, _ = network(pictures())
    assert logits.shape[1] == len(network.priors()) == PRIORS_AT_64 + (64 - 16) * 6
    assert len(network.blocks) == 6  # here no two heads share one


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"use_38x38": True}, {"res_blocks": False}, {"head_kernel": 3}], ids=str)
def test_gradient_reaches_every_parameter(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = Pelee(replace(SMALL, **changes))
    logits, offsets = network(pictures(4))
    (logits.square().mean() + offsets.square().mean()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.slow
def test_loss_trains_the_network() -> None:
    """The gradient of the loss of one object goes downhill: the pieces fit together."""
    torch.manual_seed(0)
    network = Pelee(SMALL)
    priors, targets = network.priors(), [Target(torch.tensor([[0.2, 0.3, 0.7, 0.8]]), torch.tensor([2]))] * 2
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    values = []
    for _ in range(8):
        logits, offsets = network(pictures())
        losses = multibox_loss(logits, offsets, targets, priors)
        loss = losses.classification + losses.localization
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


def test_maps_go_to_the_heads_in_order_of_size() -> None:
    """A change of one head's bias shows in that head's part of the predictions only; the first two share a map."""
    network, images = small(), pictures(1)
    with torch.no_grad():
        before, _ = network(images)
        start = 0
        for head, cells in zip(network.heads, head_map_sizes(64), strict=True):
            assert isinstance(head, PredictionHead) and head.classify.bias is not None
            bias = head.classify.bias
            bias += 1
            after, _ = network(images)
            bias -= 1
            changed = (after - before).abs().amax((0, 2)) > 0.5
            stop = start + cells * cells * 6
            assert changed[start:stop].all() and changed.sum() == stop - start
            start = stop


# Fusion


@pytest.mark.parametrize("activation", ["post", "pre"])
def test_fusion_computes_the_same(activation: Activation) -> None:
    network = small(backbone=replace(SMALL_BACKBONE, activation=activation)).double()
    with torch.no_grad():
        before = network(pictures())
        after = fuse_conv_bn(network)(pictures())
    for got, expected in zip(after, before, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert (norms == 0) == (activation == "post")


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0; a detector needs at least 1"),
        ({"head_kernel": 2}, "head_kernel is 2; expected 1 or 3"),
        ({"prior_sizes": (0.1, 0.2)}, "prior_sizes has 2 sizes; expected 7"),
        ({"backbone": PeleeNetConfig(stem="none")}, "needs a stem and four stages"),
        ({"backbone": PeleeNetConfig(blocks=(3, 4, 8))}, "needs a stem and four stages"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        PeleeConfig(**changes)


# Decoding


def test_detection_graph_against_a_composition_by_hand() -> None:
    network = small()
    images = pictures()
    with torch.no_grad():
        scores, boxes = DetectionGraph(network)(images.permute(0, 2, 3, 1).contiguous())
        logits, offsets = network(images)
    exponentials = (logits - logits.amax(-1, keepdim=True)).exp()
    torch.testing.assert_close(scores, exponentials[..., 1:] / exponentials.sum(-1, keepdim=True))
    torch.testing.assert_close(boxes, torch.stack([decode(o, network.priors()) for o in offsets]))
    assert scores.shape == (2, PRIORS_AT_64, 3) and boxes.shape == (2, PRIORS_AT_64, 4)
    assert scores.min() >= 0 and (scores.sum(-1) < 1).all()  # what is missing is the background's


@pytest.mark.slow
def test_detection_graph_of_another_size() -> None:
    graph = DetectionGraph(small(), 96)
    with torch.no_grad():
        scores, boxes = graph(torch.zeros(1, 96, 96, 3, dtype=torch.uint8))
    assert scores.shape[1] == boxes.shape[1] == len(small().priors(96))


def test_detection_graph_adds_nothing_to_the_weights() -> None:
    assert all(name.startswith("network.") for name in DetectionGraph(small()).state_dict())


# Label space


class Oracle(nn.Module):
    """Answers as `multibox_loss` wants it: the classes' logits at 12, the offsets exact."""

    def __init__(self, classes: Tensor, offsets: Tensor, num_outputs: int, network: Pelee) -> None:
        super().__init__()
        self.answer = 12 * nn.functional.one_hot(classes, num_outputs).float(), offsets
        self.priors, self.log_limit = network.priors, network.log_limit

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.answer


def test_one_class_from_record_to_result() -> None:
    """Label 0 of a dataset with one class is class 1 in the loss, and label 0 again in the result."""
    record = Record(
        image=Path("one.jpg"),
        image_id="one",
        boxes=np.array([[20, 10, 120, 90], [150, 40, 190, 95]], np.float32),
        labels=np.zeros(2, np.int64),
        difficult=np.zeros(2, bool),
        crowd=np.zeros(2, bool),
        areas=np.array([8000, 2200], np.float32),
        size=(200, 100),
    )
    network = Pelee(replace(SMALL, num_classes=1)).eval()
    logits, _ = network(pictures(1))
    assert logits.shape[-1] == 2  # background, and the one class

    relative = torch.from_numpy(record.boxes / np.array([200, 100, 200, 100], np.float32))
    target = Target(relative, torch.from_numpy(record.labels))
    wanted = build_targets([target], network.priors())
    classes = wanted.classes
    assert set(classes.unique().tolist()) == {0, 1}
    offsets = torch.zeros(*classes.shape, 4).index_put((wanted.images, wanted.priors), wanted.offsets)
    oracle = Oracle(classes, offsets, 2, network)
    perfect = multibox_loss(*oracle.answer, [target], network.priors())
    assert perfect.classification < 1e-4 and perfect.localization == 0

    graph = DetectionGraph(oracle)  # type: ignore[arg-type]
    scores, boxes = graph(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert scores.shape[-1] == 1
    found = postprocess(scores[0].numpy(), boxes[0].numpy(), width=200, height=100)
    assert found.labels.tolist() == [0, 0]
    assert (found.scores > 0.99).all()
    order = np.argsort(found.boxes[:, 0])
    np.testing.assert_allclose(found.boxes[order], record.boxes, atol=1e-3)
