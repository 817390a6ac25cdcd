"""ATSS: by hand on few priors, as properties on random boxes, and against a plain re-telling."""

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from detection.models.priors import VOC_SIZES, PriorMap, generate_priors, ssd_maps
from detection.training.matcher import ATSS_TOPK, atss_match
from tests.detection.training.test_matcher import PRIORS, random_boxes

MAPS = ssd_maps((4, 4, 2, 1, 1, 1), VOC_SIZES)  # of PRIORS
UNLIKE = (PriorMap(4, MAPS[0].shapes[:3]), *MAPS[1:])  # with fewer priors in a cell of the first


def match(boxes: Tensor, maps: tuple[PriorMap, ...] = MAPS) -> Tensor:
    """One picture's."""
    return atss_match(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, generate_priors(maps), maps)[0]


def retold(boxes: Tensor, maps: tuple[PriorMap, ...]) -> list[int]:
    """Algorithm 1, an object at a time, and then each object's own prior."""
    priors = generate_priors(maps)
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))
    taken: dict[int, tuple[float, int]] = {}
    for number, box in enumerate(boxes):
        centre = (box[:2] + box[2:]) / 2
        candidates, start = [], 0
        for cells, shapes in maps:
            size = cells * cells * len(shapes)
            distance = (priors[start : start + size, :2] - centre).norm(dim=1)
            candidates += (distance.argsort(stable=True)[: ATSS_TOPK * len(shapes)] + start).tolist()
            start += size
        overlaps = iou[number, candidates]
        threshold = overlaps.mean() + overlaps.std()
        for prior, overlap in zip(candidates, overlaps.tolist(), strict=True):
            inside = (priors[prior, :2] > box[:2]).all() and (priors[prior, :2] < box[2:]).all()
            if inside and overlap >= threshold and overlap > taken.get(prior, (0.0, 0))[0]:
                taken[prior] = (overlap, number)
    matched = [taken[prior][1] if prior in taken else -1 for prior in range(len(priors))]
    for number in range(len(boxes)):
        matched[int(iou[number].argmax())] = number
    return matched


def test_no_objects() -> None:
    assert match(torch.zeros(0, 4)).tolist() == [-1] * len(PRIORS)


@pytest.mark.parametrize("maps", [MAPS, UNLIKE], ids=["alike", "unlike"])
def test_against_a_retelling(maps: tuple[PriorMap, ...]) -> None:
    compared = 0
    for seed in range(16):
        generator = torch.Generator().manual_seed(seed)
        corner = torch.rand(4, 2, generator=generator) * 0.5
        boxes = torch.cat([corner, corner + 0.1 + 0.4 * torch.rand(4, 2, generator=generator)], 1)
        own = box_iou(boxes, box_convert(generate_priors(maps), "cxcywh", "xyxy")).argmax(1).tolist()
        if len(set(own)) == len(own):  # who yields to whom is `greedy_bipartite`'s, tested with `ssd_match`
            assert match(boxes, maps).tolist() == retold(boxes, maps), seed
            compared += 1
    assert compared > 5


def test_a_large_object_has_several_priors_and_all_have_their_centre_in_it() -> None:
    box = torch.tensor([[0.2, 0.2, 0.8, 0.8]])
    matched = match(box)
    centres = PRIORS[matched >= 0, :2]
    assert 2 <= len(centres) < len(PRIORS) / 4
    assert ((centres > 0.2) & (centres < 0.8)).all()


def test_a_tiny_object_between_the_cells_has_its_best_prior() -> None:
    """No prior has its centre between 0.55 and 0.56: those of 4, 2 and 1 cells are eighths, quarters and the half."""
    elsewhere = torch.tensor([[0.55, 0.55, 0.56, 0.56]])
    matched = match(elsewhere)
    iou = box_iou(elsewhere, box_convert(PRIORS, "cxcywh", "xyxy"))[0]
    assert torch.nonzero(matched >= 0).flatten().tolist() == [int(iou.argmax())]


@settings(max_examples=25)
@given(random_boxes)
def test_properties(rows: list[list[float]]) -> None:
    boxes = torch.tensor(rows)
    matched = match(boxes)
    assert matched.min() >= -1 and matched.max() < len(boxes)
    assert set(range(len(boxes))) <= set(matched.tolist())  # no object goes without


def test_a_batch_is_matched_as_its_pictures_alone() -> None:
    first = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.5, 0.0, 1.0, 0.5]])
    second = torch.tensor([[0.3, 0.2, 0.9, 0.7]])
    together = atss_match(torch.cat([first, second]), torch.tensor([0, 0, 2]), 3, PRIORS, MAPS)
    assert together[0].tolist() == match(first).tolist()
    assert (together[1] == -1).all()
    alone = match(second)
    assert torch.equal(together[2], torch.where(alone >= 0, alone + 2, -1))
