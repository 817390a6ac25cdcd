"""The one preprocessing is a bilinear warp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.images.preprocess import FLOAT_WARP, preprocess


def test_an_image_of_the_size_is_untouched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(preprocess(image, 20), image)


def test_bilinear_by_hand_with_pixel_centres() -> None:
    # Doubling 0, 100 samples at -0.25, 0.25, 0.75, 1.25 pixels: 0, 25, 75, 100. Rows are equal.
    image = np.repeat(np.array([[[0], [100]]] * 2, dtype=np.uint8), 3, axis=2)
    np.testing.assert_array_equal(preprocess(image, 4)[..., 0], [[0, 25, 75, 100]] * 4)


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 40))
def test_any_shape_becomes_the_square_and_one_colour_stays_it(height: int, width: int, size: int) -> None:
    image = np.full((height, width, 3), (9, 99, 199), dtype=np.uint8)
    result = preprocess(image, size)
    assert result.shape == (size, size, 3) and result.dtype == np.uint8
    assert (result == (9, 99, 199)).all()


def test_a_box_goes_back_by_multiplication() -> None:
    image = np.zeros((50, 200, 3), dtype=np.uint8)
    image[10:30, 40:120] = 255
    rows, columns = np.nonzero(preprocess(image, 100)[..., 0] > 127)
    share = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 100
    np.testing.assert_allclose(share * (200, 50, 200, 50), (40, 10, 120, 30), atol=1)


@pytest.mark.parametrize("shape", [(512, 512), (300, 451), (37, 900), (100, 100), (640, 320)])
def test_float_warp_is_torchs_interpolation(shape: tuple[int, int]) -> None:
    """torchvision's detectors resize floating-point images; nothing is rounded to integers."""
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(planes, size=(320, 320), mode="bilinear", align_corners=False)
    found = preprocess(image, 320, FLOAT_WARP)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, expected[0].permute(1, 2, 0).numpy(), atol=0.02
    )  # torch computes places in float32
