"""`?tiles=`: the whole image and its tiles as jobs, one result; over a real socket and piece by piece."""

from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from detection.inference.options import DetectionOptions
from detection.tiling.grid import TileGrid
from detection.tiling.merging import TILE_SCORE
from detection.tiling.tiling import Tiling
from serve.errors import ServiceError
from serve.inference.batcher import Inference
from serve.inference.tiled_request import most_views, parse_tiles, postprocess_views, tiles_of, view_futures
from tests.support.fake_server import SIZE, FakeNetwork, RunningServer, encoded, running

SMALL = (200, 120, 208, 128)  # of 320 × 320 pixels: 0.8 pixels of the whole image's 32


class BrightSquareNetwork(FakeNetwork):
    """Finds the box of the white pixels, if there are at least four."""

    def _run(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        scores, boxes = super()._run(images)
        scores[:] = 0
        for index, image in enumerate(images):
            rows, columns = np.nonzero(image.min(axis=2) > 180)
            if len(rows) >= 4:
                scores[index, 0, 0] = 0.9
                box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                boxes[index, 0] = box / SIZE
        return scores, boxes


@pytest.fixture
def network() -> BrightSquareNetwork:
    return BrightSquareNetwork()


@pytest.fixture
def live(network: BrightSquareNetwork) -> Iterator[RunningServer]:
    with running({"fake": network.source()}, deadline_s=60, max_tiles=20) as server:
        yield server


def photo() -> bytes:
    pixels = np.full((320, 320, 3), 40, np.uint8)
    pixels[SMALL[1] : SMALL[3], SMALL[0] : SMALL[2]] = 255
    return encoded(pixels)


@pytest.mark.slow
def test_a_small_object_is_found_in_tiles_alone(live: RunningServer, network: BrightSquareNetwork) -> None:
    assert live.client.post("/detect", content=photo()).json()["detections"] == []
    before = network.image_count
    answer = live.client.post("/detect?tiles=4", content=photo())
    (found,) = answer.json()["detections"]
    np.testing.assert_allclose(found["box"], SMALL, atol=4)  # an input pixel is three wide
    assert found["score"] == pytest.approx(0.9 * TILE_SCORE, abs=1e-4)
    assert network.image_count == before + 17
    assert live.service.admission.pending == 0


@pytest.mark.slow
def test_automatic_tiles_keep_to_the_limit(live: RunningServer, network: BrightSquareNetwork) -> None:
    assert live.client.post("/detect?tiles=auto", content=photo()).status_code == 200
    assert 1 < network.image_count <= 21


@pytest.mark.slow
def test_a_batch_counts_its_tiles(live: RunningServer) -> None:
    files = [("file", ("a.png", photo()))] * 2
    results = live.client.post("/detect/batch?tiles=4", files=files).json()["results"]
    assert [len(result["detections"]) for result in results] == [1, 1]
    answer = live.client.post("/detect/batch?tiles=4", files=files * 2)  # 68 images, and the queue holds 64
    assert (answer.status_code, answer.json()["code"]) == (429, "busy")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tiles", "message"),
    [("5", "25 tiles; this server allows 20"), ("2x", "expected auto"), ("40", "expected 1 to 32")],
)
def test_wrong_tiles_are_refused(tiles: str, message: str, live: RunningServer) -> None:
    answer = live.client.post(f"/detect?tiles={tiles}", content=photo())
    assert answer.status_code == 422 and answer.json()["code"] == "invalid_parameter"
    assert message in answer.json()["message"]


@pytest.mark.slow
def test_a_grid_larger_than_the_image_is_refused(live: RunningServer) -> None:
    answer = live.client.post("/detect?tiles=2", content=encoded(np.zeros((1, 1, 3), np.uint8)))
    assert answer.status_code == 422 and "for an image of 1 × 1 pixels" in answer.json()["message"]


def one_result(value: float) -> Inference:
    return Inference((np.full((2, 3), value), np.full((2, 4), value)), queued=value, network=10 * value)


def test_the_result_has_the_outputs_of_all_views_stacked() -> None:
    whole: Future[Inference] = Future()
    futures = view_futures(whole, 3)
    for value in (2, 0, 1):  # in any order
        assert not whole.done()
        futures[value].set_result(one_result(value))
    result = whole.result(0)
    assert result.outputs[0].shape == (3, 2, 3) and result.outputs[1].shape == (3, 2, 4)
    assert result.outputs[0][:, 0, 0].tolist() == [0, 1, 2]
    assert (result.queued, result.network) == (2, 20)


def test_the_first_error_is_the_result_and_cancels_the_other_views() -> None:
    whole: Future[Inference] = Future()
    futures = view_futures(whole, 3)
    futures[1].set_exception(ServiceError("deadline_exceeded", "late"))
    assert isinstance(whole.exception(0), ServiceError)
    assert futures[0].cancelled() and futures[2].cancelled()


def test_cancelling_the_request_cancels_its_views() -> None:
    whole: Future[Inference] = Future()
    futures = view_futures(whole, 2)
    assert whole.cancel()
    assert all(future.cancelled() for future in futures)


def test_a_single_view_is_the_request_itself() -> None:
    whole: Future[Inference] = Future()
    assert view_futures(whole, 1) == [whole]


def test_limits_and_counts_of_views() -> None:
    assert parse_tiles("off", 5) is None and most_views(None) == 1
    assert parse_tiles("auto", 5) == Tiling(max_tiles=5) and most_views(Tiling(max_tiles=5)) == 6
    assert most_views(parse_tiles("2", 5)) == 5
    with pytest.raises(ServiceError, match="allows 3"):
        parse_tiles("2", 3)
    with pytest.raises(ServiceError, match="expected at least a pixel"):
        tiles_of(Tiling((TileGrid(2, 2),)), 1, 1, 32)


def test_outputs_without_tiles_are_those_of_the_image() -> None:
    scores, boxes = np.array([[0.9, 0.0]], np.float32), np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)
    options = DetectionOptions(0.5)
    plain = options.postprocess(scores, boxes, width=40, height=20)
    for tiles in (None, np.empty((0, 4), np.int64)):
        found = postprocess_views((scores, boxes), options, 40, 20, tiles)
        assert found.boxes.tolist() == plain.boxes.tolist() == [[0, 0, 20, 10]]
