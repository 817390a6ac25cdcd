import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import SettingsError
from detection.tiling.grid import TileGrid, tile_count

grids = st.builds(TileGrid, st.integers(1, 8), st.integers(1, 8), st.floats(0, 0.5))
sides = st.integers(8, 3000)


def test_two_by_two_tiles_of_an_image_of_700_by_350_pixels() -> None:
    # A tile has 1 / (2 - 0.25) = 4/7 of the side.
    assert TileGrid(2, 2).tiles(700, 350).tolist() == [
        [0, 0, 400, 200],
        [300, 0, 700, 200],
        [0, 150, 400, 350],
        [300, 150, 700, 350],
    ]


def test_one_tile_is_the_image() -> None:
    assert TileGrid(1, 1).tiles(5, 3).tolist() == [[0, 0, 5, 3]]


@pytest.mark.slow
@given(grids, sides, sides)
def test_tiles_cover_every_pixel_and_lie_inside(grid: TileGrid, width: int, height: int) -> None:
    tiles = grid.tiles(width, height)
    assert tiles.shape == (len(grid), 4)
    for low, high, length in ((0, 2, width), (1, 3, height)):
        covered = np.zeros(length, bool)
        for start, end in tiles[:, [low, high]]:
            assert 0 <= start < end <= length
            covered[start:end] = True
        assert covered.all()
    extents = tiles[:, 2:] - tiles[:, :2]
    assert (np.ptp(extents, axis=0) <= 2).all()


@pytest.mark.slow
@given(grids, sides, sides, st.data())
def test_a_box_up_to_the_overlap_lies_wholly_inside_a_tile(
    grid: TileGrid, width: int, height: int, data: st.DataObject
) -> None:
    tiles = grid.tiles(width, height)
    box = []
    for length, count in ((width, grid.columns), (height, grid.rows)):
        extent = grid.overlap * length / (count - (count - 1) * grid.overlap)
        start = data.draw(st.floats(0, length - extent))
        box.append((start, start + extent))
    (x1, x2), (y1, y2) = box
    tolerance = 1e-6
    inside = (tiles[:, 0] <= x1 + tolerance) & (tiles[:, 1] <= y1 + tolerance)
    inside &= (tiles[:, 2] >= x2 - tolerance) & (tiles[:, 3] >= y2 - tolerance)
    assert inside.any()


def test_a_grid_larger_than_the_image_is_refused() -> None:
    with pytest.raises(SettingsError, match="a grid of 2x3 tiles for an image of 2 × 9 pixels"):
        TileGrid(2, 3).tiles(2, 9)


@pytest.mark.parametrize(
    ("rows", "columns", "overlap"), [(0, 1, 0.2), (1, 33, 0.2), (2, 2, -0.1), (2, 2, 0.51), (2, 2, float("nan"))]
)
def test_numbers_out_of_range_are_refused(rows: int, columns: int, overlap: float) -> None:
    with pytest.raises(SettingsError, match="expected"):
        TileGrid(rows, columns, overlap)


@pytest.mark.parametrize(("length", "side", "count"), [(100, 152, 1), (375, 152, 3), (500, 152, 4), (1920, 152, 17)])
def test_tile_count_is_the_nearest_number_of_tiles_of_that_side(length: int, side: int, count: int) -> None:
    assert tile_count(length, side) == count
