"""Tiled request: the whole image and its tiles as jobs of the batcher, and one result of them."""

import threading
from concurrent.futures import Future

import numpy as np

from data.errors import SettingsError
from detection.inference.options import DetectionOptions
from detection.inference.prediction import Prediction
from detection.tiling.merging import merge_views, view_prediction
from detection.tiling.tiling import Tiling
from serve.errors import ServiceError
from serve.inference.batcher import Inference


def parse_tiles(text: str, max_tiles: int) -> Tiling | None:
    """Tiling of the parameter `tiles`; None for "off".

    Raises:
        ServiceError: not a tiling, or more tiles than `max_tiles`. An automatic tiling keeps to that number.
    """
    try:
        tiling = Tiling.parse(text)
    except SettingsError as error:
        raise ServiceError("invalid_parameter", str(error)) from None
    if tiling is None:
        return None
    count = sum(map(len, tiling.grids))
    if count > max_tiles:
        raise ServiceError("invalid_parameter", f"tiles asks for {count} tiles; this server allows {max_tiles}")
    return Tiling(tiling.grids, max_tiles)


def most_views(tiling: Tiling | None) -> int:
    """Maximum number of images of one request that go through the network: the whole one, and its tiles."""
    if tiling is None:
        return 1
    return 1 + (sum(map(len, tiling.grids)) or tiling.max_tiles or 0)


def tiles_of(tiling: Tiling, width: int, height: int, input_size: int) -> np.ndarray:
    """Tiles of an image, (T, 4) int64 xyxy in pixels; `ServiceError` for an image smaller than the grid."""
    try:
        return tiling.tiles(width, height, input_size)
    except SettingsError as error:
        raise ServiceError("invalid_parameter", str(error)) from None


def view_futures(whole: Future[Inference], count: int) -> list[Future[Inference]]:
    """Futures of the `count` views of one image, whose result or first error becomes that of `whole`.

    The result has the views' outputs stacked, (count, ...) each, and the longest times. Cancelling `whole` cancels the
    views that have not been started.
    """
    if count == 1:
        return [whole]
    futures: list[Future[Inference]] = [Future() for _ in range(count)]
    lock, missing = threading.Lock(), count

    def finish(done: Future[Inference]) -> None:
        nonlocal missing
        with lock:
            missing -= 1
            last = missing == 0
        failed = not done.cancelled() and done.exception() is not None
        if not (last or failed):
            return
        with lock:
            if whole.done() or whole.running() or not whole.set_running_or_notify_cancel():
                return
        if failed:
            whole.set_exception(done.exception())
            for future in futures:
                future.cancel()
            return
        parts = [future.result() for future in futures]
        outputs = tuple(np.stack(arrays) for arrays in zip(*(part.outputs for part in parts), strict=True))
        whole.set_result(Inference(outputs, max(part.queued for part in parts), max(part.network for part in parts)))

    def cancel(done: Future[Inference]) -> None:
        if done.cancelled():
            for future in futures:
                future.cancel()

    for future in futures:
        future.add_done_callback(finish)
    whole.add_done_callback(cancel)
    return futures


def postprocess_views(
    outputs: tuple[np.ndarray, ...], options: DetectionOptions, width: int, height: int, tiles: np.ndarray | None
) -> Prediction:
    """Detections of an image of width × height pixels.

    Args:
        outputs: scores and boxes, (P, C) and (P, 4); with tiles (1 + T, P, C) and (1 + T, P, 4), the whole image first.
        options: thresholds and classes.
        width, height: size of the image, pixels.
        tiles: (T, 4) int64 xyxy in pixels; None or empty without tiles.
    """
    scores, boxes = outputs
    if tiles is None or len(tiles) == 0:
        return view_prediction(scores, boxes, None, width, height, options)
    views = zip(scores, boxes, [None, *tiles.tolist()], strict=True)
    return merge_views([view_prediction(*view, width, height, options) for view in views], options)
