"""Priors against hand-written cells, the published count, and torchvision's generator."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_convert

from detection.models.box_coder import decode
from detection.models.priors import COCO_SIZES, PRIORS_PER_CELL, VOC_SIZES, cell_priors, make_priors

MAPS = (19, 19, 10, 5, 3, 1)  # of 304×304


def test_sizes_of_a_cell_by_hand() -> None:
    """Smallest 0.1, largest 0.2: √0.02 = 0.141421; 0.1·√2 = 0.141421, 0.1/√2 = 0.070711; 0.1·√3 and 0.1/√3."""
    expected = [
        (0.1, 0.1),
        (0.141421, 0.141421),
        (0.141421, 0.070711),
        (0.070711, 0.141421),
        (0.173205, 0.057735),
        (0.057735, 0.173205),
    ]
    assert len(expected) == PRIORS_PER_CELL
    for got, wanted in zip(cell_priors(0.1, 0.2), expected, strict=True):
        assert got == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("sizes", [VOC_SIZES, COCO_SIZES])
def test_published_number(sizes: tuple[float, ...]) -> None:
    priors = make_priors(MAPS, sizes)
    assert priors.shape == (5142, 4)  # (361 + 361 + 100 + 25 + 9 + 1) · 6
    assert priors.dtype == torch.float32


def test_published_sizes_in_pixels() -> None:
    """Each head's smallest square, and its largest ratio-1 one, √(smallest · next smallest)."""
    starts = [0, 2166, 4332, 4932, 5082, 5136]
    for sizes, smallest, between in (
        # 304 · 0.10 = 30.4, ... 304 · 0.88 = 267.52; √(30.4 · 60.8) = 42.99, ... √(267.52 · 319.2) = 292.22
        (VOC_SIZES, [30.4, 60.8, 112.48, 164.16, 215.84, 267.52], [42.99, 82.70, 135.88, 188.23, 240.30, 292.22]),
        # 304 · 0.07 = 21.28, ... √(21.28 · 45.6) = 31.15, ... √(264.48 · 319.2) = 290.56
        (COCO_SIZES, [21.28, 45.6, 100.32, 155.04, 209.76, 264.48], [31.15, 67.64, 124.71, 180.34, 235.54, 290.56]),
    ):
        pixels = make_priors(MAPS, sizes) * 304
        for start, small, large in zip(starts, smallest, between, strict=True):
            assert pixels[start, 2:].tolist() == pytest.approx([small, small], abs=1e-2)
            assert pixels[start + 1, 2:].tolist() == pytest.approx([large, large], abs=1e-2)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        # first head, first cell: the centre of a 1/19 wide cell
        (0, (0.5 / 19, 0.5 / 19, 0.1, 0.1)),
        # first head, next cell to the right
        (6, (1.5 / 19, 0.5 / 19, 0.1, 0.1)),
        # first head, first cell of the second row
        (19 * 6, (0.5 / 19, 1.5 / 19, 0.1, 0.1)),
        # second head, last cell, ratio 1/3: 0.2 / √3, 0.2 · √3
        (2 * 2166 - 1, (18.5 / 19, 18.5 / 19, 0.115470, 0.346410)),
        # third head, row 2, column 7, ratio 2: 0.37 · √2, 0.37 / √2
        (4332 + (2 * 10 + 7) * 6 + 2, (0.75, 0.25, 0.523259, 0.261630)),
        # last head, ratio 1': √(0.88 · 1.05)
        (5137, (0.5, 0.5, 0.961249, 0.961249)),
        # last head, ratio 3: 0.88 · √3, 0.88 / √3: wider than the image
        (5140, (0.5, 0.5, 1.524205, 0.508068)),
    ],
)
def test_priors_by_hand(index: int, expected: tuple[float, ...]) -> None:
    assert make_priors(MAPS, VOC_SIZES)[index].tolist() == pytest.approx(expected, abs=1e-6)


def test_priors_are_not_clipped() -> None:
    corners = box_convert(make_priors(MAPS, VOC_SIZES), "cxcywh", "xyxy")
    assert corners.min() < 0 and corners.max() > 1


@pytest.mark.parametrize("sizes", [VOC_SIZES, COCO_SIZES])
@pytest.mark.parametrize("maps", [MAPS, (4, 4, 2, 1, 1, 1), (38, 19, 10, 5, 3, 1)])
def test_priors_against_torchvision(maps: tuple[int, ...], sizes: tuple[float, ...]) -> None:
    generator = DefaultBoxGenerator([[2, 3]] * 6, scales=list(sizes), clip=False)
    images = ImageList(torch.zeros(1, 3, 100, 100), [(100, 100)])
    reference = generator(images, [torch.zeros(1, 1, side, side) for side in maps])[0] / 100
    torch.testing.assert_close(box_convert(make_priors(maps, sizes), "cxcywh", "xyxy"), reference)


def test_sizes_must_fit_the_maps() -> None:
    with pytest.raises(ValueError, match="6 heads need 7 sizes, got 6"):
        make_priors(MAPS, VOC_SIZES[:-1])


def test_priors_made_in_inference_mode_serve_training() -> None:
    """They are cached: a validation may ask for them first."""
    with torch.inference_mode():
        make_priors((3, 2), (0.2, 0.5, 0.9))
    priors = make_priors((3, 2), (0.2, 0.5, 0.9))
    offsets = torch.zeros(len(priors), 4, requires_grad=True)
    decode(offsets, priors).sum().backward()
    assert offsets.grad is not None and offsets.grad.any()
