"""Matchers: by hand with ties and thresholds, as properties on random boxes, and against a plain implementation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import box_convert, box_iou

from detection.models.priors import VOC_SIZES, PriorMap, generate_priors, ssd_maps
from detection.training.matcher import ATSS_TOPK, atss_match, distinct_best_priors, ssd_match

MAPS = ssd_maps((4, 4, 2, 1, 1, 1), VOC_SIZES)  # of 64×64
PRIORS = generate_priors(MAPS)  # 234


def match(boxes: Tensor, priors: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """One image's."""
    return ssd_match(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, priors, iou_threshold=iou_threshold)[0]


def from_corners(rows: list[list[float]]) -> Tensor:
    return box_convert(torch.tensor(rows), "xyxy", "cxcywh")


# Four quarters of the image.
QUARTERS = from_corners([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]])


def test_no_objects() -> None:
    matched = match(torch.zeros(0, 4), QUARTERS)
    assert matched.tolist() == [-1] * 4 and matched.dtype == torch.int64


def test_one_object() -> None:
    assert match(torch.tensor([[0.5, 0.0, 1.0, 0.5]]), QUARTERS).tolist() == [-1, 0, -1, -1]


def test_a_poor_overlap_is_enough_for_the_best_prior() -> None:
    """A tenth by a tenth of the image, in the third quarter: IoU 0.01 / 0.25 = 0.04, and still matched."""
    assert match(torch.tensor([[0.1, 0.7, 0.2, 0.8]]), QUARTERS).tolist() == [-1, -1, 0, -1]


def test_threshold_is_inclusive() -> None:
    """Two priors of one object: the best, and one of IoU exactly 0.25 / 0.5 = 0.5."""
    priors = from_corners([[0, 0, 0.5, 0.5], [0, 0, 0.5, 1]])
    box = torch.tensor([[0, 0, 0.5, 0.5]])
    assert match(box, priors).tolist() == [0, 0]
    assert match(box, priors, iou_threshold=0.51).tolist() == [0, -1]


def test_each_prior_takes_the_object_it_overlaps_most() -> None:
    """The third prior, 0..0.75 wide, overlaps the left half by 2/3 and the right half by 0.25 / 1 = 0.25."""
    priors = from_corners([[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0, 0, 0.75, 1]])
    boxes = torch.tensor([[0.5, 0, 1, 1], [0, 0, 0.5, 1]])
    assert match(boxes, priors).tolist() == [1, 0, 1]


def test_two_objects_want_the_same_prior() -> None:
    """Both overlap the first prior best, by 0.8 and 0.96; the second object has it, the first what is left."""
    priors = from_corners([[0, 0, 1, 0.5], [0, 0.6, 1, 1]])
    boxes = torch.tensor([[0, 0, 0.8, 0.5], [0, 0, 0.96, 0.5]])
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))
    assert iou.argmax(1).tolist() == [0, 0]
    assert match(boxes, priors).tolist() == [1, 0]


def test_one_box_twice() -> None:
    """Both priors that fit go to one object each, though both are over the threshold for either."""
    priors = from_corners([[0, 0, 0.5, 1], [0, 0, 0.6, 1], [0.8, 0, 1, 1]])
    boxes = torch.tensor([[0, 0, 0.5, 1], [0, 0, 0.5, 1]])
    matched = match(boxes, priors).tolist()
    assert sorted(matched[:2]) == [0, 1] and matched[2] == -1


def test_identical_objects_each_have_a_prior() -> None:
    matched = match(torch.tensor([[0.1, 0.1, 0.4, 0.4]]).repeat(5, 1), PRIORS)
    assert set(range(5)) <= set(matched.tolist())


def test_more_objects_than_priors() -> None:
    """Every prior keeps an object, each another; the worst goes without."""
    small = [0.4, 0.4, 0.6, 0.6]
    boxes = torch.tensor([small, [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0, 0, 0.5, 0.5]])
    assert match(boxes, QUARTERS).tolist() == [4, 3, 2, 1]


def test_inputs_are_left_alone() -> None:
    boxes, priors = torch.tensor([[0.0, 0.0, 0.5, 0.5]]), QUARTERS.clone()
    match(boxes, priors)
    assert torch.equal(priors, QUARTERS) and boxes.tolist() == [[0.0, 0.0, 0.5, 0.5]]


edge = st.floats(0, 0.95)
side = st.floats(0.01, 1)
random_boxes = st.lists(
    st.tuples(edge, edge, side, side).map(lambda b: [b[0], b[1], min(1.0, b[0] + b[2]), min(1.0, b[1] + b[3])]),
    min_size=1,
    max_size=12,
)


@pytest.mark.slow
@given(random_boxes)
def test_properties(rows: list[list[float]]) -> None:
    boxes = torch.tensor(rows)
    matched = match(boxes, PRIORS)
    iou = box_iou(boxes, box_convert(PRIORS, "cxcywh", "xyxy"))  # (n, P)
    best_iou, _ = iou.max(0)

    assert matched.min() >= -1 and matched.max() < len(boxes)
    assert set(range(len(boxes))) <= set(matched.tolist())  # no object goes without
    assert (matched[best_iou >= 0.5] >= 0).all()  # no good prior is background
    # At most one prior an object breaks the rule of thresholds: the one that the object took first.
    of_matched = iou.gather(0, matched.clamp(min=0)[None])[0]
    by_rule = torch.where(best_iou >= 0.5, of_matched == best_iou, matched == -1)
    assert (~by_rule).sum() <= len(boxes)


def reference_matching(boxes: Tensor, priors: Tensor) -> list[int]:
    """The matching by going once through all pairs, the largest IoU first."""
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))
    count = len(priors)
    matched: dict[int, int] = {}
    for pair in iou.flatten().argsort(descending=True).tolist():
        thing, prior = divmod(pair, count)
        if prior not in matched and thing not in matched.values():
            matched[prior] = thing
    for prior in range(count):
        thing = int(iou[:, prior].argmax())
        if prior not in matched and iou[thing, prior] >= 0.5:
            matched[prior] = thing
    return [matched.get(prior, -1) for prior in range(count)]


@pytest.mark.slow
def test_against_a_reference() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        corner = torch.rand(6, 2, generator=generator) * 0.5
        boxes = torch.cat([corner, corner + 0.15 + 0.35 * torch.rand(6, 2, generator=generator)], 1)
        assert match(boxes, PRIORS).tolist() == reference_matching(boxes, PRIORS)


def test_a_batch_is_matched_as_its_images_alone() -> None:
    """Images without objects, with and without objects that compete for a prior, and twice the same."""
    crowded = torch.tensor([[0.1, 0.1, 0.4, 0.4]]).repeat(5, 1)
    plain = torch.tensor([[0.5, 0.0, 1.0, 0.5], [0.1, 0.7, 0.2, 0.8]])
    parts = [plain, torch.zeros(0, 4), crowded, plain]
    images = torch.tensor([0] * 2 + [2] * 5 + [3] * 2)
    matched = ssd_match(torch.cat(parts), images, 4, PRIORS)
    start = 0
    for row, boxes in zip(matched, parts, strict=True):
        alone = match(boxes, PRIORS)
        assert torch.equal(row, torch.where(alone >= 0, alone + start, -1))
        start += len(boxes)


def greedy(iou: Tensor) -> list[int]:
    """Pairs of one image, the largest IoU first; of equal ones the first object, then the first prior."""
    found = [-1] * len(iou)
    pairs = [(-float(iou[row, prior]), row, prior) for row in range(len(iou)) for prior in range(iou.shape[1])]
    for _, row, prior in sorted(pairs):
        if found[row] < 0 and prior not in found:
            found[row] = prior
    return found


def test_priors_of_crowded_images_are_those_of_the_greedy_matching() -> None:
    """Eighths: many equal values; up to 8 objects compete for 6 priors."""
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        counts = torch.randint(0, 9, (5,), generator=generator)
        images = torch.arange(5).repeat_interleave(counts)
        iou = torch.randint(0, 9, (len(images), 6), generator=generator) / 8
        expected = [prior for image in range(5) for prior in greedy(iou[images == image])]
        assert distinct_best_priors(iou, images).tolist() == expected, seed


class Synchronizations(TorchDispatchMode):
    """Counts the operations for which the CPU waits for a GPU: their result is a number or decides a shape."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "index.Tensor", "index_put_.default")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        name = str(function).removeprefix("aten.")
        masks = [index for index in arguments[1] if index is not None] if name.startswith("index") else []
        if name.startswith(self.WAITING) and (not masks or masks[0].dtype == torch.bool):
            self.count += 1
        return function(*arguments, **(options or {}))


def test_a_gpu_is_synchronized_per_batch_not_per_image() -> None:
    """Each image has two objects that compete for a prior."""
    pair = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.11, 0.1, 0.4, 0.4]])
    counts = []
    for images in (1, 50):
        with Synchronizations() as mode:
            ssd_match(pair.repeat(images, 1), torch.arange(images).repeat_interleave(2), images, PRIORS)
        counts.append(mode.count)
    assert counts[0] == counts[1] <= 4


# ATSS

UNLIKE = (PriorMap(4, MAPS[0].shapes[:3]), *MAPS[1:])  # with fewer priors in a cell of the first


def match_atss(boxes: Tensor, maps: tuple[PriorMap, ...] = MAPS) -> Tensor:
    """One image's."""
    return atss_match(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, generate_priors(maps), maps)[0]


def reference_atss(boxes: Tensor, maps: tuple[PriorMap, ...]) -> list[int]:
    """Algorithm 1, an object at a time, and then each object's own prior."""
    priors = generate_priors(maps)
    iou = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))
    taken: dict[int, tuple[float, int]] = {}
    for number, box in enumerate(boxes):
        center = (box[:2] + box[2:]) / 2
        candidates, start = [], 0
        for cells, shapes, _ in maps:
            size = cells * cells * len(shapes)
            distance = (priors[start : start + size, :2] - center).norm(dim=1)
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


def test_atss_without_objects() -> None:
    assert match_atss(torch.zeros(0, 4)).tolist() == [-1] * len(PRIORS)


@pytest.mark.slow
@pytest.mark.parametrize("maps", [MAPS, UNLIKE], ids=["alike", "unlike"])
def test_atss_against_a_reference(maps: tuple[PriorMap, ...]) -> None:
    compared = 0
    for seed in range(16):
        generator = torch.Generator().manual_seed(seed)
        corner = torch.rand(4, 2, generator=generator) * 0.5
        boxes = torch.cat([corner, corner + 0.1 + 0.4 * torch.rand(4, 2, generator=generator)], 1)
        own = box_iou(boxes, box_convert(generate_priors(maps), "cxcywh", "xyxy")).argmax(1).tolist()
        if len(set(own)) == len(own):  # who yields to whom is `distinct_best_priors`'s, tested with `ssd_match`
            assert match_atss(boxes, maps).tolist() == reference_atss(boxes, maps), seed
            compared += 1
    assert compared > 5


def test_a_large_object_has_several_priors_and_all_have_their_center_in_it() -> None:
    box = torch.tensor([[0.2, 0.2, 0.8, 0.8]])
    matched = match_atss(box)
    centers = PRIORS[matched >= 0, :2]
    assert 2 <= len(centers) < len(PRIORS) / 4
    assert ((centers > 0.2) & (centers < 0.8)).all()


def test_a_tiny_object_between_the_cells_has_its_best_prior() -> None:
    """No prior has its center between 0.55 and 0.56: those of 4, 2 and 1 cells are eighths, quarters and the half."""
    elsewhere = torch.tensor([[0.55, 0.55, 0.56, 0.56]])
    matched = match_atss(elsewhere)
    iou = box_iou(elsewhere, box_convert(PRIORS, "cxcywh", "xyxy"))[0]
    assert torch.nonzero(matched >= 0).flatten().tolist() == [int(iou.argmax())]


@pytest.mark.slow
@settings(max_examples=25)
@given(random_boxes)
def test_properties_of_atss(rows: list[list[float]]) -> None:
    boxes = torch.tensor(rows)
    matched = match_atss(boxes)
    assert matched.min() >= -1 and matched.max() < len(boxes)
    assert set(range(len(boxes))) <= set(matched.tolist())  # no object goes without


def test_atss_matches_a_batch_as_its_images_alone() -> None:
    first = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.5, 0.0, 1.0, 0.5]])
    second = torch.tensor([[0.3, 0.2, 0.9, 0.7]])
    together = atss_match(torch.cat([first, second]), torch.tensor([0, 0, 2]), 3, PRIORS, MAPS)
    assert together[0].tolist() == match_atss(first).tolist()
    assert (together[1] == -1).all()
    alone = match_atss(second)
    assert torch.equal(together[2], torch.where(alone >= 0, alone + 2, -1))
