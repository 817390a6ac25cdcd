"""Training targets against arithmetic done by hand, and back to the boxes they encode."""

import pytest
import torch

from detection.models.box_coder import decode
from detection.training.matcher import atss_match
from detection.training.targets import Target, build_targets
from tests.support.detection_targets import MAPS, NOTHING, ROW, on_prior, random_batch, target


def test_assign_by_hand() -> None:
    """The second image's object, of label 2, is the prior 3 moved by 0.01 to the right and half as high.

    0.01 / (0.2 · 0.1) = 0.5; ln(1/2) / 0.2 = -3.465736.
    """
    found = build_targets([NOTHING, target([[0.71, 0.5, 0.2, 0.1]], [2])], ROW)
    assert found.classes.tolist() == [[0] * 5, [0, 0, 0, 3, 0]]
    assert (found.images.tolist(), found.priors.tolist()) == ([1], [3])
    assert found.offsets[0].tolist() == pytest.approx([0.5, 0, 0, -3.465736], abs=1e-4)


def test_assign_several_objects() -> None:
    things = Target(torch.cat([on_prior(4).boxes, on_prior(0).boxes]), torch.tensor([6, 0]))
    assert build_targets([things], ROW).classes.tolist() == [[1, 0, 0, 0, 7]]


def test_wanted_boxes_come_back_from_the_offsets() -> None:
    _, _, targets, priors = random_batch(2)
    found = build_targets(targets, priors, atss_match, MAPS)
    assert torch.equal(torch.stack([found.images, found.priors], 1), torch.nonzero(found.classes))
    for number, box in zip(found.images.tolist(), decode(found.offsets, priors[found.priors]), strict=True):
        assert (targets[number].boxes - box).abs().amax(1).min() < 1e-5
