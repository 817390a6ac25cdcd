"""Geometry of merging, with a detector that reports every object of a view, clipped to the view."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.inference.prediction import Prediction
from detection.tiling.grid import TileGrid
from detection.tiling.merging import EDGE_SHARE, MAX_BOX_SHARE, TILE_SCORE, merge, tile_prediction

WIDTH, HEIGHT = 800, 600
grids = st.builds(TileGrid, st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.25, 0.5]))
#: One box in each of 4 × 4 cells of the image at most, so that objects never overlap.
boxes_in_cells = st.lists(
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.02, 1), st.floats(0.02, 1)), min_size=1, max_size=16
)


def prediction(boxes: np.ndarray, score: float = 0.8, label: int = 1) -> Prediction:
    count = len(boxes)
    return Prediction(
        boxes.astype(np.float32).reshape(-1, 4), np.full(count, score, np.float32), np.full(count, label, np.int64)
    )


def objects(cells: list[tuple[float, float, float, float]], share: float) -> np.ndarray:
    """Boxes (n, 4) in pixels, each at most `share` of its cell wide and high."""
    side = np.array([WIDTH / 4, HEIGHT / 4])
    rows = []
    for index, (x, y, w, h) in enumerate(cells):
        low = np.array([index % 4, index // 4]) * side + np.array([x, y]) * side
        high = np.minimum(low + np.array([w, h]) * share * side, (np.array([index % 4, index // 4]) + 1) * side - 1)
        rows.append([*low, *np.maximum(high, low + 1)])
    return np.array(rows).astype(np.float32)


def visible(boxes: np.ndarray, tile: list[int]) -> np.ndarray:
    """Boxes clipped to a tile, in its pixels, as a perfect detector reports them."""
    x1, y1, x2, y2 = tile
    clipped = np.clip(boxes, [x1, y1, x1, y1], [x2, y2, x2, y2]) - [x1, y1, x1, y1]
    shown: np.ndarray = clipped[(clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])]
    return shown


def merged(whole: np.ndarray, boxes: np.ndarray, grid: TileGrid) -> Prediction:
    tiles = grid.tiles(WIDTH, HEIGHT).tolist()
    parts = [tile_prediction(prediction(visible(boxes, tile)), tile, WIDTH, HEIGHT) for tile in tiles]
    return merge([prediction(whole, 0.9), *parts], 0.01, 0.45, 400, 200)


def by_place(boxes: np.ndarray) -> np.ndarray:
    ordered: np.ndarray = boxes[np.lexsort(boxes.round().T)]
    return ordered


@pytest.mark.slow
@given(boxes_in_cells, grids)
def test_objects_of_any_size_found_in_the_whole_image_are_reported_once(
    cells: list[tuple[float, float, float, float]], grid: TileGrid
) -> None:
    boxes = objects(cells, 1.0)
    found = merged(boxes, boxes, grid)
    assert len(found.boxes) == len(boxes)
    np.testing.assert_allclose(by_place(found.boxes), by_place(boxes), atol=0.01)
    assert found.scores == pytest.approx(0.9)


@pytest.mark.slow
@given(boxes_in_cells, st.integers(1, 4), st.integers(1, 4))
def test_small_objects_found_in_tiles_alone_are_reported_once(
    cells: list[tuple[float, float, float, float]], rows: int, columns: int
) -> None:
    grid = TileGrid(rows, columns)
    tile = np.array([WIDTH / (columns - (columns - 1) / 4), HEIGHT / (rows - (rows - 1) / 4)])
    # No larger than the overlap without the margins, in which a box is taken for a cut one.
    limit = (grid.overlap - 2 * EDGE_SHARE) * tile / (WIDTH / 4, HEIGHT / 4) * 0.98
    boxes = objects(cells, float(min(1.0, limit.min())))
    found = merged(np.empty((0, 4)), boxes, grid)
    assert len(found.boxes) == len(boxes)
    np.testing.assert_allclose(by_place(found.boxes), by_place(boxes), atol=0.01)
    assert found.scores == pytest.approx(0.8 * TILE_SCORE)


@pytest.mark.slow
@given(boxes_in_cells, grids)
def test_a_box_of_a_tile_is_an_object_and_never_a_part_of_one(
    cells: list[tuple[float, float, float, float]], grid: TileGrid
) -> None:
    boxes = objects(cells, 1.0)
    for box in merged(np.empty((0, 4)), boxes, grid).boxes:
        assert (np.abs(boxes - box).max(axis=1) < 0.01).any()


def test_a_box_at_the_image_border_is_not_cut() -> None:
    found = tile_prediction(prediction(np.array([[0.0, 0, 50, 60]])), [0, 0, 400, 300], WIDTH, HEIGHT)
    assert found.boxes.tolist() == [[0, 0, 50, 60]]


def test_a_box_at_an_inner_edge_is_dropped() -> None:
    at_the_edge = prediction(np.array([[360.0, 10, 398, 60]]))
    assert len(tile_prediction(at_the_edge, [0, 0, 400, 300], WIDTH, HEIGHT).boxes) == 0
    assert len(tile_prediction(at_the_edge, [400, 0, 800, 300], WIDTH, HEIGHT).boxes) == 1


@pytest.mark.parametrize(("share", "kept"), [(MAX_BOX_SHARE - 0.01, 1), (MAX_BOX_SHARE + 0.01, 0)])
def test_large_boxes_of_a_tile_do_not_count(share: float, kept: int) -> None:
    side = 300 * share
    found = tile_prediction(prediction(np.array([[100, 100, 100 + side, 100 + side]])), [100, 0, 400, 300], 900, 900)
    assert len(found.boxes) == kept


def test_boxes_that_nearly_coincide_are_averaged_by_their_scores() -> None:
    parts = [prediction(np.array([[0.0, 0, 100, 100]]), 0.6), prediction(np.array([[0.0, 0, 100, 130]]), 0.3)]
    found = merge(parts, 0.01, 0.45, 400, 200)
    np.testing.assert_allclose(found.boxes, [[0, 0, 100, 110]], rtol=1e-6)
    assert found.scores == pytest.approx([0.6])


def test_classes_are_merged_apart() -> None:
    box = np.array([[0.0, 0, 100, 100]])
    found = merge([prediction(box, 0.6, 1), prediction(box, 0.5, 2)], 0.01, 0.45, 400, 200)
    assert found.labels.tolist() == [1, 2]


def test_at_most_the_wanted_number_is_kept_and_nothing_of_nothing() -> None:
    boxes = np.array([[20.0 * i, 0, 20 * i + 10, 10] for i in range(9)])
    assert len(merge([prediction(boxes)], 0.01, 0.45, 400, 5).boxes) == 5
    assert len(merge([prediction(boxes[:0])], 0.01, 0.45, 400, 5).boxes) == 0
