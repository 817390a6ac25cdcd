"""The multibox loss against arithmetic done by hand, and against torchvision's SSD."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_convert

from detection.models.priors import VOC_SIZES, make_priors
from detection.training.loss import MultiboxLosses, hard_negatives, multibox_loss
from detection.training.matcher import ssd_match
from detection.training.targets import Target, build_targets

LN2, LN3 = math.log(2), math.log(3)

# Five priors in a row, 0.2 wide and high, side by side: no two overlap.
ROW = torch.tensor([[0.1 + 0.2 * i, 0.5, 0.2, 0.2] for i in range(5)])
NOTHING = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def target(boxes: list[list[float]], labels: list[int]) -> Target:
    """Boxes given as cxcywh."""
    return Target(box_convert(torch.tensor(boxes), "cxcywh", "xyxy"), torch.tensor(labels))


def on_prior(index: int, label: int = 0) -> Target:
    return target([ROW[index].tolist()], [label])


# What every prior should predict


def test_assign_by_hand() -> None:
    """The second picture's object, of label 2, is the prior 3 moved by 0.01 to the right and half as high.

    0.01 / (0.2 · 0.1) = 0.5; ln(1/2) / 0.2 = -3.465736.
    """
    classes, offsets = build_targets([NOTHING, target([[0.71, 0.5, 0.2, 0.1]], [2])], ROW)
    assert classes.tolist() == [[0] * 5, [0, 0, 0, 3, 0]]
    assert offsets[1, 3].tolist() == pytest.approx([0.5, 0, 0, -3.465736], abs=1e-4)
    offsets[1, 3] = 0
    assert not offsets.any()


def test_assign_several_objects() -> None:
    things = Target(torch.cat([on_prior(4).boxes, on_prior(0).boxes]), torch.tensor([6, 0]))
    classes, _ = build_targets([things], ROW)
    assert classes.tolist() == [[1, 0, 0, 0, 7]]


# Hard negatives


def chosen(background_loss: list[list[float]], positive: list[list[int]], ratio: float = 3.0) -> list[list[int]]:
    mask = hard_negatives(torch.tensor(background_loss), torch.tensor(positive).bool(), ratio)
    assert mask.dtype == torch.bool
    return mask.int().tolist()


def test_worst_three_for_one_positive() -> None:
    assert chosen([[0.3, 9.0, 0.1, 0.5, 0.2, 0.4]], [[0, 1, 0, 0, 0, 0]]) == [[1, 0, 0, 1, 0, 1]]


def test_each_picture_has_its_own_share() -> None:
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
    """Two pictures with one and two objects: sums over both, divided by three matched priors.

    First picture: as in the test of one object, ln(4/3) + ln 4 + 2 ln 2; smooth L1 0.
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


def test_a_picture_without_objects_adds_nothing() -> None:
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


def random_batch(seed: int, classes: int = 4) -> tuple[Tensor, Tensor, list[Target], Tensor]:
    """Four pictures with 3, 0, 1 and 5 objects over the priors of 64×64."""
    generator = torch.Generator().manual_seed(seed)
    priors = make_priors((4, 4, 2, 1, 1, 1), VOC_SIZES)
    targets = []
    for count in (3, 0, 1, 5):
        corner = torch.rand(count, 2, generator=generator) * 0.6
        boxes = torch.cat([corner, corner + 0.1 + 0.3 * torch.rand(count, 2, generator=generator)], 1)
        targets.append(Target(boxes, torch.randint(0, classes, (count,), generator=generator)))
    logits = 3 * torch.randn(4, len(priors), classes + 1, generator=generator)
    return logits, torch.randn(4, len(priors), 4, generator=generator), targets, priors


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
    """DDP averages gradients over processes, so the mean of their losses must be the loss of one with all pictures."""
    logits, offsets, targets, priors = random_batch(0)
    whole = multibox_loss(logits, offsets, targets, priors)
    counts = [
        int((ssd_match(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, priors)[0] >= 0).sum())
        for boxes, _ in targets
    ]
    parts = []
    for rank, pictures in enumerate((slice(0, 1), slice(1, 4))):
        as_process(monkeypatch, sum(counts) - sum(counts[pictures]), 2)
        parts.append(multibox_loss(logits[pictures], offsets[pictures], targets[pictures], priors))
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
