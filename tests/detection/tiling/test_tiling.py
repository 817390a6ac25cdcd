import pytest

from data.errors import SettingsError
from detection.tiling.grid import TileGrid
from detection.tiling.tiling import MAX_AUTO_SIDE, Tiling


def shapes(tiling: Tiling | None, width: int, height: int) -> list[tuple[int, int]]:
    assert tiling is not None
    return [(grid.rows, grid.columns) for grid in tiling.grids_of(width, height, 304)]


def test_off_is_no_tiling() -> None:
    assert Tiling.parse("off") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2", [(2, 2)]), ("2x3", [(2, 3)]), (" 3X2 ", [(3, 2)]), ("2×3", [(2, 3)]), ("2+1x4", [(2, 2), (1, 4)])],
)
def test_grids_are_parsed_as_rows_and_columns(text: str, expected: list[tuple[int, int]]) -> None:
    assert shapes(Tiling.parse(text), 50, 5000) == expected


@pytest.mark.parametrize("text", ["", "on", "2x", "x2", "2y3", "-1", "2.5", "2+", "²", "٣", "9" * 5000, "0", "2x33"])
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match="expected") as error:
        Tiling.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((304, 304), []),
        ((304, 20), []),
        ((1, 1), []),
        ((500, 375), [(3, 4), (2, 2)]),
        ((375, 500), [(4, 3), (2, 2)]),
        ((1920, 1080), [(9, 16), (5, 8), (3, 4), (2, 2)]),
        ((4000, 10), [(1, 16), (1, 8), (1, 4), (1, 2)]),
    ],
)
def test_automatic_grids_magnify_twice_and_each_coarser_one_has_half_the_tiles(
    size: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert shapes(Tiling.parse("auto"), *size) == expected


def test_automatic_grids_of_100_megapixels_are_bounded() -> None:
    tiling = Tiling()
    grids = tiling.grids_of(10_000, 10_000, 304)
    assert max(grid.rows for grid in grids) == MAX_AUTO_SIDE
    assert len(tiling.tiles(10_000, 10_000, 304)) == 16 * 16 + 8 * 8 + 4 * 4 + 2 * 2


def test_the_finest_grids_are_left_out_where_they_are_too_many() -> None:
    assert shapes(Tiling(max_tiles=20), 1920, 1080) == [(3, 4), (2, 2)]
    assert shapes(Tiling(max_tiles=3), 1920, 1080) == []
    assert shapes(Tiling((TileGrid(9, 9),), max_tiles=3), 1920, 1080) == [(9, 9)]


def test_tiles_are_those_of_all_grids() -> None:
    tiles = Tiling((TileGrid(2, 2), TileGrid(1, 1))).tiles(70, 35, 304)
    assert tiles.tolist()[-1] == [0, 0, 70, 35] and len(tiles) == 5
    assert Tiling().tiles(30, 30, 304).shape == (0, 4)
