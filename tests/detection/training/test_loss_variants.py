"""The losses beside SSD's own: by hand, with no, one and several objects."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from detection.models.box_coder import decode, encode
from detection.models.pelee import Pelee
from detection.models.priors import VOC_SIZES, ssd_maps
from detection.training.loss import MultiboxLosses, elementwise_box_iou, init_heads, multibox_loss
from detection.training.loss_settings import LossSettings
from detection.training.matcher import atss_match
from detection.training.targets import Target, build_targets
from tests.detection.training.test_loss import LN2, LOGITS, NOTHING, ROW, on_prior, random_batch, target

MAPS = ssd_maps((4, 4, 2, 1, 1, 1), VOC_SIZES)  # of the random batch's priors
VARIANTS = [
    {"class_loss": "focal"},
    {"class_loss": "quality"},
    {"label_smoothing": 0.1},
    {"box_loss": "giou"},
    {"box_loss": "diou"},
    {"box_loss": "ciou"},
    {"assignment": "atss"},
    {"class_loss": "quality", "box_loss": "ciou", "assignment": "atss", "label_smoothing": 0.1, "box_weight": 2.0},
]


def losses(
    settings: dict[str, object], logits: list[list[list[float]]] | Tensor, targets: list[Target], offsets: Tensor
) -> MultiboxLosses:
    return multibox_loss(torch.as_tensor(logits), offsets, targets, ROW, LossSettings(**settings))  # type: ignore[arg-type]


def test_label_smoothing_by_hand() -> None:
    """As the test of one object, with the smoothed part: two outputs, so the mean of ln(4/3) and ln 4 or ln 2 twice.

    Four priors count: the object's, with ln(4/3), and three with ln 4, ln 2, ln 2.
    """
    found = losses({"label_smoothing": 0.1}, [LOGITS], [on_prior(1)], torch.zeros(1, 5, 4))
    mean = (math.log(4 / 3) + math.log(4)) / 2
    plain = math.log(4 / 3) + math.log(4) + 2 * LN2
    assert found.classification.item() == pytest.approx(0.9 * plain + 0.1 * (2 * mean + 2 * LN2))


def test_label_smoothing_is_pytorchs() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 4)
    found = losses({"label_smoothing": 0.2, "negative_ratio": 4.0}, logits, [on_prior(1, 2)], torch.zeros(1, 5, 4))
    wanted = F.cross_entropy(logits[0], torch.tensor([0, 3, 0, 0, 0]), label_smoothing=0.2, reduction="sum")
    assert found.classification.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_focal_by_hand() -> None:
    """All five priors count, each times (1 - p)²; p is 3/4 (background, 0), 3/4 (the object, 1), 1/2, 1/4, 1/2."""
    found = losses({"class_loss": "focal"}, [LOGITS], [on_prior(1)], torch.zeros(1, 5, 4))
    easy, unsure, wrong = math.log(4 / 3) / 16, LN2 / 4, math.log(4) * 9 / 16
    assert found.classification.item() == pytest.approx(2 * easy + 2 * unsure + wrong)


def test_focal_without_objects_is_that_of_the_background() -> None:
    found = losses({"class_loss": "focal"}, torch.zeros(1, 5, 4), [NOTHING], torch.zeros(1, 5, 4))
    assert found.classification.item() == pytest.approx(5 * math.log(4) * 9 / 16)
    assert found.localization.item() == 0


def test_quality_asks_for_the_iou_of_the_box_by_hand() -> None:
    """The box said is the prior, half of the object (twice as high): IoU 1/2, so ln(4/3) / 2 + ln 4 / 2."""
    twice = target([[0.3, 0.5, 0.2, 0.4]], [0])
    found = losses({"class_loss": "quality"}, [LOGITS], [twice], torch.zeros(1, 5, 4))
    negatives = math.log(4) + 2 * LN2
    assert found.classification.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2 + negatives)
    # where the box is right, it is the plain loss
    offsets = torch.zeros(1, 5, 4)
    offsets[0, 1] = encode(twice.boxes, ROW[1:2])[0]
    right = losses({"class_loss": "quality"}, [LOGITS], [twice], offsets)
    assert right.classification.item() == pytest.approx(math.log(4 / 3) + negatives, rel=1e-5)


def test_quality_teaches_no_box() -> None:
    """The IoU is a target; its gradient would make boxes worse where the class is unsure."""
    offsets = torch.full((1, 5, 4), 0.5, requires_grad=True)
    found = losses({"class_loss": "quality"}, [LOGITS], [on_prior(1)], offsets)
    assert found.localization.requires_grad and not found.classification.requires_grad


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        # The prior and an object beside it, moved by half its width: IoU 1/3, hull 1.5 priors, all of it covered.
        ("giou", 1 - 1 / 3),
        # Squared distance of the centres 0.1², squared diagonal of the hull 0.3² + 0.2²; the same shape.
        ("diou", 1 - 1 / 3 + 0.01 / 0.13),
        ("ciou", 1 - 1 / 3 + 0.01 / 0.13),
    ],
)
def test_iou_losses_by_hand(name: str, wanted: float) -> None:
    beside = target([[0.4, 0.2, 0.2, 0.2]], [0])
    priors = torch.tensor([[0.3, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])
    logits, offsets = torch.zeros(1, 2, 2), torch.zeros(1, 2, 4)
    offsets[0, 1] = 9.0  # the background's
    settings = LossSettings(box_loss=name, box_weight=2.0)  # type: ignore[arg-type]
    found = multibox_loss(logits, offsets, [beside], priors, settings)
    assert found.localization.item() == pytest.approx(2 * wanted, rel=1e-5)
    perfect = encode(beside.boxes, priors[:1])[None].repeat(1, 2, 1)
    assert multibox_loss(logits, perfect, [beside], priors, settings).localization.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_variant_takes_any_number_of_objects_and_gives_finite_gradients(variant: dict[str, object]) -> None:
    logits, offsets, targets, priors = random_batch(0)
    settings = LossSettings(**variant)  # type: ignore[arg-type]
    for chosen in ([0, 1, 2, 3], [1], [2]):
        own_logits = logits[chosen].clone().requires_grad_()
        own_offsets = offsets[chosen].clone().requires_grad_()
        found = multibox_loss(own_logits, own_offsets, [targets[index] for index in chosen], priors, settings, MAPS)
        (found.classification + found.localization).backward()
        for tensor in (own_logits, own_offsets):
            assert tensor.grad is not None and tensor.grad.isfinite().all()
        assert found.classification.isfinite() and found.localization.isfinite()
        if chosen == [1]:
            assert found.localization == 0
            assert (found.classification > 0) == (settings.class_loss == "focal")


def test_the_defaults_are_the_multibox_loss() -> None:
    logits, offsets, targets, priors = random_batch(1)
    classes, wanted = build_targets(targets, priors)
    found = multibox_loss(logits, offsets, targets, priors)
    positive = classes > 0
    assert found.localization == F.smooth_l1_loss(offsets[positive], wanted[positive], reduction="sum") / positive.sum()


def test_paired_iou_is_the_diagonal_of_box_iou() -> None:
    corner = torch.rand(50, 2, 2)
    a, b = (torch.cat([part, part + torch.rand(50, 2)], 1) for part in corner.unbind(1))
    torch.testing.assert_close(elementwise_box_iou(a, b), box_iou(a, b).diagonal())
    assert elementwise_box_iou(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [0]


def test_new_heads_expect_background() -> None:
    network = Pelee()
    init_heads(network.heads, LossSettings(class_loss="focal"))
    for head in network.heads:
        features = torch.zeros(1, head.classify.in_channels, 2, 2)  # type: ignore[union-attr,arg-type]
        scores = head(features)[0].softmax(-1)
        assert scores[..., 0].min().item() == pytest.approx(0.99)
        assert scores[..., 1:].max().item() == pytest.approx(0.01 / 20)


def test_wanted_boxes_come_back_from_the_offsets() -> None:
    _, _, targets, priors = random_batch(2)
    classes, offsets = build_targets(targets, priors, atss_match, MAPS)
    picture, prior = torch.nonzero(classes, as_tuple=True)
    for number, box in zip(picture.tolist(), decode(offsets[picture, prior], priors[prior]), strict=True):
        assert (targets[number].boxes - box).abs().amax(1).min() < 1e-5
