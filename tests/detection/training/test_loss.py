"""Multibox loss and its variants, against arithmetic done by hand and torchvision's SSD."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_convert, box_iou

from detection.models.box_coder import encode
from detection.models.pelee import Pelee
from detection.training.loss import MultiboxLosses, elementwise_box_iou, hard_negatives, init_heads, multibox_loss
from detection.training.loss_settings import CLASSIFICATION_LOSSES, LossSettings
from detection.training.matcher import ssd_match
from detection.training.targets import Target, build_targets
from tests.support.detection_targets import MAPS, NOTHING, ROW, on_prior, random_batch, target

LN2, LN3 = math.log(2), math.log(3)

# Hard negatives


def chosen(background_loss: list[list[float]], positive: list[list[int]], ratio: float = 3.0) -> list[list[int]]:
    mask = hard_negatives(torch.tensor(background_loss), torch.tensor(positive).bool(), ratio)
    assert mask.dtype == torch.bool
    return mask.int().tolist()


def test_worst_three_for_one_positive() -> None:
    assert chosen([[0.3, 9.0, 0.1, 0.5, 0.2, 0.4]], [[0, 1, 0, 0, 0, 0]]) == [[1, 0, 0, 1, 0, 1]]


def test_each_image_has_its_own_share() -> None:
    losses = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]] * 3
    positive = [[1, 0, 0, 0, 0, 0, 0, 0], [0] * 8, [1, 1, 0, 0, 0, 0, 0, 0]]
    mask = chosen(losses, positive)
    assert [sum(row) for row in mask] == [3, 0, 6]
    assert mask[0] == [0, 0, 0, 0, 0, 1, 1, 1]


def test_other_ratios() -> None:
    losses = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]
    assert chosen(losses, [[1, 0, 0, 0, 0, 0]], 1) == [[0, 0, 0, 0, 0, 1]]
    assert chosen(losses, [[1, 0, 0, 0, 0, 0]], 2.5) == [[0, 0, 0, 0, 1, 1]]  # rounded down


def test_fewer_negatives_than_wanted() -> None:
    assert chosen([[0.1, 0.2, 0.3]], [[1, 1, 0]]) == [[0, 0, 1]]


# The loss

# Logits (background, object): softmax of (0, ln 3) is (1/4, 3/4), of (ln 3, 0) the other way round.
SURE_BACKGROUND, UNSURE, SURE_OBJECT = [LN3, 0.0], [0.0, 0.0], [0.0, LN3]
LOGITS = [SURE_BACKGROUND, SURE_OBJECT, UNSURE, SURE_OBJECT, UNSURE]


def test_one_object_by_hand() -> None:
    """The object is prior 1, which says so: ln(4/3).

    As background, the others cost ln(4/3), ln 2, ln 4, ln 2: the worst three are ln 4 + 2 ln 2.
    Offsets wanted are 0: smooth L1 of (0.5, -2, 0, 1) is 0.5²/2 + (2 - 0.5) + 0 + 0.5 = 2.125.
    """
    offsets = torch.full((1, 5, 4), 7.0)  # those of the background count for nothing
    offsets[0, 1] = torch.tensor([0.5, -2.0, 0.0, 1.0])
    losses = multibox_loss(torch.tensor([LOGITS]), offsets, [on_prior(1)], ROW)
    assert losses.classification.item() == pytest.approx(math.log(4 / 3) + math.log(4) + 2 * LN2)
    assert losses.localization.item() == pytest.approx(2.125)


def test_classes_by_hand() -> None:
    """Three classes and all logits 0: every one of 1 + 3 priors costs ln 4, whatever the label."""
    for label in range(3):
        losses = multibox_loss(torch.zeros(1, 5, 4), torch.zeros(1, 5, 4), [on_prior(2, label)], ROW)
        assert losses.classification.item() == pytest.approx(4 * math.log(4))


def test_label_chooses_the_logit_after_the_background() -> None:
    """Prior 0 gives its label's class e² / (e² + 3) where it is right, and 1 / (e² + 3) where it is not."""
    logits = torch.zeros(1, 5, 4)
    logits[0, 0, 2] = 2.0  # background, label 0, label 1, label 2
    others = 3 * math.log(4)
    for label, probability in ((0, 1 / (math.e**2 + 3)), (1, math.e**2 / (math.e**2 + 3)), (2, 1 / (math.e**2 + 3))):
        losses = multibox_loss(logits, torch.zeros(1, 5, 4), [on_prior(0, label)], ROW)
        assert losses.classification.item() == pytest.approx(others - math.log(probability))


def test_several_objects_by_hand() -> None:
    """Two images with one and two objects: sums over both, divided by three matched priors.

    First image: as in the test of one object, ln(4/3) + ln 4 + 2 ln 2; smooth L1 0.
    Second: objects on priors 0 and 2, ln 4 and ln 2; all three others count, though six may:
    ln 4 (prior 1) + ln 4 (prior 3) + ln 2. Offsets of prior 0 are off by (3, 0, 0, 0): 2.5.
    """
    offsets = torch.zeros(2, 5, 4)
    offsets[1, 0, 0] = 3.0
    two = Target(torch.cat([on_prior(0).boxes, on_prior(2).boxes]), torch.tensor([0, 0]))
    losses = multibox_loss(torch.tensor([LOGITS, LOGITS]), offsets, [on_prior(1), two], ROW)
    first = math.log(4 / 3) + math.log(4) + 2 * LN2
    second = math.log(4) + LN2 + 2 * math.log(4) + LN2
    assert losses.classification.item() == pytest.approx((first + second) / 3)
    assert losses.localization.item() == pytest.approx(2.5 / 3)


def test_a_image_without_objects_adds_nothing() -> None:
    torch.manual_seed(0)
    logits, offsets = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    alone = multibox_loss(logits[:1], offsets[:1], [on_prior(1)], ROW)
    both = multibox_loss(logits, offsets, [on_prior(1), NOTHING], ROW)
    assert both.classification.item() == pytest.approx(alone.classification.item())
    assert both.localization.item() == pytest.approx(alone.localization.item())


def test_a_batch_without_objects_has_loss_zero_and_gradient_zero() -> None:
    logits, offsets = torch.randn(2, 5, 3, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    losses = multibox_loss(logits, offsets, [NOTHING, NOTHING], ROW)
    assert losses.classification.item() == 0 and losses.localization.item() == 0
    sum(losses).backward()  # type: ignore[union-attr]
    assert logits.grad is not None and not logits.grad.any()
    assert offsets.grad is not None and not offsets.grad.any()


def test_gradient_goes_to_what_counts_only() -> None:
    """Prior 0 is an easy negative, left out; the wanted class's gradient is (p - 1) / matched = 3/4 - 1."""
    logits = torch.tensor([LOGITS], requires_grad=True)
    offsets = torch.full((1, 5, 4), 2.0, requires_grad=True)
    losses = multibox_loss(logits, offsets, [on_prior(1)], ROW)
    (losses.classification + losses.localization).backward()
    assert logits.grad is not None and offsets.grad is not None
    assert logits.grad[0].any(-1).tolist() == [False, True, True, True, True]
    assert logits.grad[0, 1].tolist() == pytest.approx([0.25, -0.25])
    assert offsets.grad[0].tolist() == [[0.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4]


def test_half_precision_is_computed_in_float32() -> None:
    """Logits that bfloat16 holds exactly give what they give in float32, not what 8 bits of mantissa would."""
    logits, offsets = torch.tensor([[[1.0, 0.0]] * 5]), torch.full((1, 5, 4), 1.5)
    wanted = multibox_loss(logits, offsets, [on_prior(1)], ROW)
    for half in (torch.bfloat16, torch.float16):
        losses = multibox_loss(logits.to(half), offsets.to(half), [on_prior(1)], ROW)
        assert losses == wanted


@pytest.mark.parametrize("seed", range(3))
def test_against_torchvision(seed: int) -> None:
    logits, offsets, targets, priors = random_batch(seed)
    losses = multibox_loss(logits, offsets, targets, priors)

    ssd: Any = SimpleNamespace(box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3)
    reference = SSD.compute_loss(
        ssd,
        [{"boxes": boxes, "labels": labels + 1} for boxes, labels in targets],
        {"bbox_regression": offsets, "cls_logits": logits},
        [box_convert(priors, "cxcywh", "xyxy")] * 4,
        [ssd_match(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, priors)[0] for boxes, _ in targets],
    )
    torch.testing.assert_close(losses.classification, reference["classification"])
    torch.testing.assert_close(losses.localization, reference["bbox_regression"])


# Several processes


def as_process(monkeypatch: pytest.MonkeyPatch, others: int, processes: int) -> None:
    """Pretend to be one of `processes`, whose others have matched `others` priors."""
    add: Callable[[Tensor], Tensor] = lambda tensor: tensor.add_(others)  # noqa: E731
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: processes)
    monkeypatch.setattr(dist, "all_reduce", add)


def test_processes_average_to_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDP averages gradients over processes, so the mean of their losses must be the loss of one with all images."""
    logits, offsets, targets, priors = random_batch(0)
    whole = multibox_loss(logits, offsets, targets, priors)
    counts = [
        int((ssd_match(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, priors)[0] >= 0).sum())
        for boxes, _ in targets
    ]
    parts = []
    for rank, images in enumerate((slice(0, 1), slice(1, 4))):
        as_process(monkeypatch, sum(counts) - sum(counts[images]), 2)
        parts.append(multibox_loss(logits[images], offsets[images], targets[images], priors))
        assert parts[rank].localization > 0
    check_mean(parts, whole)


def test_processes_with_fewer_matches_than_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One matched prior among four processes, a fourth each: the mean is still that of the whole."""
    logits, offsets = torch.tensor([LOGITS]), torch.ones(1, 5, 4)
    whole = multibox_loss(logits, offsets, [on_prior(1)], ROW)
    as_process(monkeypatch, 0, 4)
    parts = [multibox_loss(logits, offsets, [on_prior(1)], ROW)]
    for _ in range(3):
        as_process(monkeypatch, 1, 4)
        parts.append(multibox_loss(logits, offsets, [NOTHING], ROW))
    check_mean(parts, whole)


def check_mean(parts: list[MultiboxLosses], whole: MultiboxLosses) -> None:
    for of_parts, of_whole in zip(zip(*parts, strict=True), whole, strict=True):
        torch.testing.assert_close(torch.stack(of_parts).mean(), of_whole)


# Losses beside SSD's

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


def test_only_a_loss_that_samples_no_negatives_learns_from_images_without_objects() -> None:
    """As `Component.samples_negatives` says, by which the setting `backgrounds` is refused."""
    for name, entry in CLASSIFICATION_LOSSES.items():
        logits, offsets = torch.randn(2, 5, 3).requires_grad_(), torch.randn(2, 5, 4).requires_grad_()
        loss = multibox_loss(logits, offsets, [NOTHING] * 2, ROW, LossSettings(class_loss=name))
        sum(loss).backward()  # type: ignore[union-attr]
        assert torch.isfinite(loss.classification) and loss.localization == 0
        assert logits.grad is not None and torch.isfinite(logits.grad).all()
        assert (logits.grad == 0).all().item() == entry.samples_negatives


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
        # Squared distance of the centers 0.1², squared diagonal of the hull 0.3² + 0.2²; the same shape.
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
    wanted = build_targets(targets, priors)
    found = multibox_loss(logits, offsets, targets, priors)
    positive = wanted.classes > 0
    assert found.localization == F.smooth_l1_loss(offsets[positive], wanted.offsets, reduction="sum") / positive.sum()


def test_paired_iou_is_the_diagonal_of_box_iou() -> None:
    corner = torch.rand(50, 2, 2)
    a, b = (torch.cat([part, part + torch.rand(50, 2)], 1) for part in corner.unbind(1))
    torch.testing.assert_close(elementwise_box_iou(a, b), box_iou(a, b).diagonal())
    assert elementwise_box_iou(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [0]


@pytest.mark.slow
def test_new_heads_expect_background() -> None:
    network = Pelee()
    init_heads(network.heads, LossSettings(class_loss="focal"))
    for head in network.heads:
        features = torch.zeros(1, head.classify.in_channels, 2, 2)  # type: ignore[union-attr,arg-type]
        scores = head(features)[0].softmax(-1)
        assert scores[..., 0].min().item() == pytest.approx(0.99)
        assert scores[..., 1:].max().item() == pytest.approx(0.01 / 20)
