"""SSD's box encoding: hand-computed, as an identity, and against torchvision's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_convert

from detection.models.box_coder import decode, encode

centres = st.floats(-0.25, 1.25)
sides = st.floats(0.01, 1.5)
cxcywh = st.lists(st.tuples(centres, centres, sides, sides), min_size=1, max_size=8)
offset = st.floats(-8, 8)


def test_encode_by_hand() -> None:
    """Prior: centre (0.5, 0.4), 0.2 × 0.4. Box: centre (0.51, 0.38), 0.4 × 0.2.

    0.01 / (0.2 · 0.1) = 0.5, -0.02 / (0.4 · 0.1) = -0.5, ln(2) / 0.2 = 3.465736, ln(1/2) / 0.2.
    """
    prior = torch.tensor([0.5, 0.4, 0.2, 0.4])
    box = torch.tensor([0.31, 0.28, 0.71, 0.48])
    assert encode(box, prior).tolist() == pytest.approx([0.5, -0.5, 3.465736, -3.465736], abs=1e-5)


def test_decode_by_hand() -> None:
    """Prior as above, offsets (1, -1, 0, ln(2) / 0.2): centre (0.52, 0.36), 0.2 × 0.8."""
    prior = torch.tensor([0.5, 0.4, 0.2, 0.4])
    offsets = torch.tensor([1.0, -1.0, 0.0, math.log(2) / 0.2])
    assert decode(offsets, prior).tolist() == pytest.approx([0.42, -0.04, 0.62, 0.76], abs=1e-6)


def test_no_offset_is_the_prior() -> None:
    priors = torch.rand(9, 4) + 0.1
    torch.testing.assert_close(decode(torch.zeros(9, 4), priors), box_convert(priors, "cxcywh", "xyxy"))


@pytest.mark.slow
@given(cxcywh, st.data())
def test_decode_undoes_encode(values: list[tuple[float, ...]], data: st.DataObject) -> None:
    boxes = box_convert(torch.tensor(values, dtype=torch.float64), "cxcywh", "xyxy")
    priors = draw_priors(data, len(values))
    torch.testing.assert_close(decode(encode(boxes, priors), priors), boxes, rtol=0, atol=1e-9)


@pytest.mark.slow
@given(st.lists(st.tuples(offset, offset, offset, offset), min_size=1, max_size=8), st.data())
def test_encode_undoes_decode(values: list[tuple[float, ...]], data: st.DataObject) -> None:
    offsets = torch.tensor(values, dtype=torch.float64)
    priors = draw_priors(data, len(values))
    torch.testing.assert_close(encode(decode(offsets, priors), priors), offsets, rtol=1e-6, atol=1e-6)


def draw_priors(data: st.DataObject, count: int) -> Tensor:
    rows = data.draw(st.lists(st.tuples(centres, centres, sides, sides), min_size=count, max_size=count))
    return torch.tensor(rows, dtype=torch.float64)


def test_against_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    priors = torch.rand(50, 4, generator=generator) * 0.8 + 0.1
    boxes = box_convert(torch.rand(50, 4, generator=generator) * 0.8 + 0.1, "cxcywh", "xyxy")
    corners = box_convert(priors, "cxcywh", "xyxy")
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))  # 1 / variances
    offsets = coder.encode_single(boxes, corners)
    torch.testing.assert_close(encode(boxes, priors), offsets, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decode(offsets, priors), coder.decode_single(offsets, corners))


def test_batch_of_offsets_over_one_set_of_priors() -> None:
    offsets, priors = torch.randn(3, 7, 4), torch.rand(7, 4) + 0.1
    out = decode(offsets, priors)
    assert out.shape == (3, 7, 4)
    torch.testing.assert_close(out[2], decode(offsets[2], priors))
