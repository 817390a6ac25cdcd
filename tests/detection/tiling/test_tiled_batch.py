import numpy as np
import pytest

from data.errors import SettingsError
from detection.detector import Detector
from detection.inference.options import DetectionOptions
from detection.tiling.grid import TileGrid
from detection.tiling.merging import TILE_SCORE
from detection.tiling.tiled_batch import BATCH
from detection.tiling.tiling import Tiling
from tests.support.rectangle_session import SCORES, WHITE, RectangleRuntime, make_card, picture

SMALL = (300, 500, 312, 512)  # 12 × 12 pixels of 1280 × 1280 are 1.2 × 1.2 of the input's 128 × 128


def small_object() -> np.ndarray:
    return picture(1280, 1280, SMALL)


def detector_and_runtime() -> tuple[Detector, RectangleRuntime]:
    runtime = RectangleRuntime()
    return Detector(runtime, make_card()), runtime


@pytest.mark.slow
@pytest.mark.parametrize("tiles", ["auto", "8", "2+8", Tiling((TileGrid(8, 8),))])
def test_an_object_too_small_for_the_whole_image_is_found_once_in_its_tiles(tiles: str | Tiling) -> None:
    detector, _ = detector_and_runtime()
    assert len(detector(small_object())) == 0
    found = detector(small_object(), tiles=tiles)
    np.testing.assert_allclose(found.xyxy, [SMALL], atol=3)  # an input pixel of a coarse tile is 5 wide
    assert found.confidence == pytest.approx([SCORES[0] * TILE_SCORE])


def test_without_tiles_the_result_is_the_same_to_the_bit() -> None:
    detector, _ = detector_and_runtime()
    image = picture(100, 100)
    options = DetectionOptions(0.3)
    (plain,) = detector.submit([image], options).result()
    (tiled,) = detector.submit([image], options, [Tiling().tiles(100, 100, 128)]).result()
    for ours, theirs in zip(plain, tiled, strict=True):
        assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


@pytest.mark.slow
def test_tiles_have_the_thresholds_of_the_classes() -> None:
    detector, _ = detector_and_runtime()
    image = small_object()
    (one,) = detector.predict_batch([image], 0.3, tiling=Tiling.parse("8"))
    (equal,) = detector.predict_batch([image], (0.3,) * len(detector.class_names), tiling=Tiling.parse("8"))
    for ours, theirs in zip(equal, one, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (label,) = one.labels.tolist()
    other = [0.99 if index == label else 0.3 for index in range(len(detector.class_names))]
    assert len(detector.predict_batch([image], tuple(other), tiling=Tiling.parse("8"))[0].scores) == 0


def test_a_large_object_is_the_whole_images() -> None:
    detector, _ = detector_and_runtime()
    image = picture(640, 640, (100, 100, 500, 600))
    found, plain = detector(image, tiles="2+4"), detector(image)
    np.testing.assert_array_equal(found.xyxy, plain.xyxy)
    np.testing.assert_array_equal(found.confidence, plain.confidence)


@pytest.mark.slow
def test_images_of_a_batch_keep_their_own_tiles() -> None:
    detector, _ = detector_and_runtime()
    images = [picture(64, 64, (8, 8, 40, 40)), small_object(), picture(1280, 640, (640, 20, 652, 32), WHITE)]
    found = detector(images, tiles="auto")
    assert [len(one) for one in found] == [1, 1, 1]
    assert [one.data["class_name"][0] for one in found] == ["red thing", "red thing", "white thing"]
    np.testing.assert_allclose(found[2].xyxy, [[640, 20, 652, 32]], atol=2)


@pytest.mark.slow
def test_a_batch_of_the_network_is_bounded() -> None:
    detector, runtime = detector_and_runtime()
    detector([small_object()] * 2, tiles="9")
    assert sum(runtime.batches) == 2 * 82 and max(runtime.batches) == BATCH


@pytest.mark.slow
def test_the_threshold_is_that_of_the_reduced_score() -> None:
    detector, _ = detector_and_runtime()
    limit = SCORES[0] * TILE_SCORE
    assert len(detector(small_object(), confidence=limit - 0.01, tiles="8")) == 1
    assert len(detector(small_object(), confidence=limit + 0.01, tiles="8")) == 0
    assert len(detector(small_object(), confidence=1.0, tiles="8")) == 0


def test_classes_are_chosen_in_tiles_too() -> None:
    detector, _ = detector_and_runtime()
    assert len(detector(small_object(), tiles="8", classes=["white thing"])) == 0


def test_a_grid_larger_than_the_image_is_refused() -> None:
    detector, _ = detector_and_runtime()
    with pytest.raises(SettingsError, match="for an image of 1 × 1 pixels"):
        detector(np.zeros((1, 1, 3), np.uint8), tiles="2")
    assert len(detector(np.zeros((1, 1, 3), np.uint8), tiles="auto")) == 0
