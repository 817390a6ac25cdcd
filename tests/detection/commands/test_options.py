import argparse

import pytest

from data.errors import SettingsError
from detection.commands.options import add_tiles_options, parse_tiles
from detection.tiling.grid import TileGrid
from detection.tiling.tiling import Tiling


def parsed(*argv: str) -> Tiling | None:
    parser = argparse.ArgumentParser()
    add_tiles_options(parser)
    return parse_tiles(parser.parse_args(argv))


def test_tiles_are_off_by_default() -> None:
    assert parsed() is None


def test_grids_and_their_overlap_are_read() -> None:
    assert parsed("--tiles", "auto") == Tiling()
    assert parsed("--tiles", "2x3") == Tiling((TileGrid(2, 3),))
    assert parsed("--tiles", "2", "--tile-overlap", "0.4") == Tiling((TileGrid(2, 2, 0.4),))


@pytest.mark.parametrize(
    "argv",
    [("--tiles", "many"), ("--tiles", "2", "--tile-overlap", "0.6"), ("--tile-overlap", "0.3"), ("--tiles", "99")],
)
def test_wrong_options_are_refused_in_one_line(argv: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as error:
        parsed(*argv)
    assert "\n" not in str(error.value)
