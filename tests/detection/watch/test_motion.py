import numpy as np
import pytest

from detection.tiling.tiling import Tiling
from detection.watch.motion import MotionGate, tiles_of_motion

HEIGHT, WIDTH = 360, 640


@pytest.fixture
def scene() -> np.ndarray:
    """Return a background with structure, (H, W) uint8."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (110 + 50 * np.sin(x / 17) * np.cos(y / 23)).astype(np.uint8)


def gate_of(scene: np.ndarray) -> MotionGate:
    gate = MotionGate()
    assert gate.look(scene).moving  # the first frame
    gate.analyzed()
    return gate


@pytest.mark.slow
def test_noise_of_a_sensor_is_no_motion(scene: np.ndarray) -> None:
    gate, random = gate_of(scene), np.random.default_rng(1)
    for _ in range(50):
        noisy = np.clip(scene + random.normal(0, 12, scene.shape), 0, 255).astype(np.uint8)
        assert not gate.look(noisy).moving


@pytest.mark.parametrize("shift", [-25, 20])
def test_light_that_changes_is_no_motion(scene: np.ndarray, shift: int) -> None:
    assert not gate_of(scene).look(np.clip(scene.astype(int) + shift, 0, 255).astype(np.uint8)).moving


def test_a_small_object_moves_and_is_found(scene: np.ndarray) -> None:
    gate = gate_of(scene)
    image = scene.copy()
    image[200:230, 300:316] = 240
    motion = gate.look(image)
    assert motion.moving and len(motion.boxes) == 1
    x1, y1, x2, y2 = motion.boxes[0]
    assert 270 <= x1 <= 300 and 316 <= x2 <= 345 and 175 <= y1 <= 200 and 230 <= y2 <= 260


def test_slow_motion_adds_up(scene: np.ndarray) -> None:
    """Each frame differs little from the one before; the difference from the analyzed one grows."""
    image = np.full_like(scene, 90)
    gate = gate_of(image)
    found = []
    for step in range(30):
        image[100:200, 100:200] = 90 + step
        found.append(gate.look(image).moving)
    assert not found[3] and found[-1]
    gate.analyzed()
    assert not gate.look(image).moving


def test_a_cut_is_motion_everywhere(scene: np.ndarray) -> None:
    random = np.random.default_rng(2)
    other = np.kron(random.integers(0, 255, (HEIGHT // 40, WIDTH // 40)), np.ones((40, 40))).astype(np.uint8)
    motion = gate_of(scene).look(other)
    assert motion.moving and len(motion.boxes) == 0


def test_color_images_and_other_sizes(scene: np.ndarray) -> None:
    gate = gate_of(np.repeat(scene[..., None], 3, axis=2))
    assert not gate.look(np.repeat(scene[..., None], 3, axis=2)).moving
    assert gate.look(scene[: HEIGHT // 2]).moving


def test_tiles_hold_the_moving_parts() -> None:
    tiling = Tiling.parse("auto")
    assert tiling is not None
    tiles = tiling.tiles(1920, 1080, 304)
    boxes = np.array([[900, 500, 940, 560], [100, 100, 120, 130], [905, 505, 930, 550], [0, 0, 1900, 1000]])
    chosen = tiles_of_motion(tiles, boxes, 4)
    assert len(chosen) == 2
    for tile, box in zip(chosen, boxes, strict=False):
        assert tile[0] <= box[0] + 4 and tile[1] <= box[1] + 6 and tile[2] >= box[2] - 4 and tile[3] >= box[3] - 6
        assert (tile[2] - tile[0]) * (tile[3] - tile[1]) < 1920 * 1080 / 8
    assert len(tiles_of_motion(tiles, boxes, 1)) == 1
    assert len(tiles_of_motion(tiles, boxes, 0)) == len(tiles_of_motion(tiles[:0], boxes, 3)) == 0
