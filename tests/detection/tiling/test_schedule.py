import numpy as np
import pytest

from detection.tiling.grid import TileGrid
from detection.tiling.schedule import BACK_OFF, NETWORK_SHARE, TileSchedule
from detection.tiling.tiling import Tiling

NOTHING = np.empty((0, 4), np.float32)
WIDTH, HEIGHT = 1600, 900
GRID = TileGrid(3, 4)
PER_VIEW = 0.01


def measured(tiling: Tiling | None = None) -> TileSchedule:
    schedule = TileSchedule(tiling or Tiling((GRID,)), 304)
    schedule.record(3, 3 * PER_VIEW)
    return schedule


def time_for(views: int) -> float:
    """Time between frames that has room for so many views."""
    return (views + 0.5) * PER_VIEW / NETWORK_SHARE


def rows(tiles: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(tile) for tile in tiles.tolist()]


def test_no_tiles_before_the_first_measurement() -> None:
    assert len(TileSchedule(Tiling((GRID,)), 304).next_tiles(WIDTH, HEIGHT, 1.0, NOTHING, 0)) == 0


def test_tiles_are_taken_in_turn_until_each_had_its_turn() -> None:
    schedule = measured()
    seen = [rows(schedule.next_tiles(WIDTH, HEIGHT, time_for(6), NOTHING, 0)) for _ in range(12)]
    assert [len(tiles) for tiles in seen] == [5] * 12  # the sixth view is the whole image
    assert sorted(tile for tiles in seen for tile in tiles) == sorted(rows(GRID.tiles(WIDTH, HEIGHT)) * 5)


@pytest.mark.parametrize(("views", "tiles"), [(0, 0), (1, 0), (2, 1), (13, 12), (500, 12)])
def test_the_number_of_tiles_follows_the_time_between_frames(views: int, tiles: int) -> None:
    assert len(measured().next_tiles(WIDTH, HEIGHT, time_for(views), NOTHING, 0)) == tiles


def test_a_slower_network_gets_fewer_tiles() -> None:
    schedule = measured()
    for _ in range(50):
        schedule.record(2, 2 * 2 * PER_VIEW)
    assert len(schedule.next_tiles(WIDTH, HEIGHT, time_for(10), NOTHING, 0)) == 4


def test_dropped_frames_lower_the_number_of_tiles_and_it_recovers() -> None:
    schedule = measured()

    def count(dropped: int) -> int:
        return len(schedule.next_tiles(WIDTH, HEIGHT, time_for(10), NOTHING, dropped))

    assert count(0) == 9
    assert count(1) == int(10.5 * BACK_OFF) - 1
    assert count(2) == int(10.5 * BACK_OFF**2) - 1
    for _ in range(100):
        count(2)
    assert count(2) == 9


def test_half_of_the_tiles_go_to_small_tracked_objects() -> None:
    schedule = measured()
    small = np.array([[1500, 800, 1520, 830], [1505, 805, 1525, 835]], np.float32)  # both in the last tile
    last = rows(GRID.tiles(WIDTH, HEIGHT))[-1]
    for _ in range(6):
        tiles = rows(schedule.next_tiles(WIDTH, HEIGHT, time_for(5), small, 0))
        assert tiles[0] == last and len(set(tiles)) == 4


def test_large_tracked_objects_get_no_tiles_of_their_own() -> None:
    schedule = measured()
    large = np.array([[0, 0, 1600, 900]], np.float32)
    tiles = rows(schedule.next_tiles(WIDTH, HEIGHT, time_for(3), large, 0))
    assert tiles == rows(GRID.tiles(WIDTH, HEIGHT))[:2]


def test_a_changed_frame_size_gets_its_own_tiles() -> None:
    schedule = measured(Tiling())
    assert len(schedule.next_tiles(300, 200, 1.0, NOTHING, 0)) == 0
    assert rows(schedule.next_tiles(500, 375, 1.0, NOTHING, 0)) == rows(Tiling().tiles(500, 375, 304))
