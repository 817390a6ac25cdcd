"""Decoding threads: each image is checked by its header, and decoded once the memory budget has room for it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from serve.inference.image_decoding import check_image
from serve.inference.memory import MemoryBudget
from serve.inference.thread_priority import lower_thread_priority


@dataclass(slots=True)
class Upload:
    """Uploaded image in progress.

    Attributes:
        content: the file; None once the request has ended.
        width, height: of the upright image, pixels, once it is decoded.
        seconds: decoding time.
        tiles: (T, 4) int64 xyxy in pixels, the tiles that are detected in beside the whole image; None without tiles.
    """

    content: bytes | None
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    tiles: np.ndarray | None = None


class Decoders:
    """Threads for work on uploaded images.

    Attributes:
        pool: the threads.
        memory: budget of the images that are being decoded or annotated.
        max_pixels: maximum size of an image.
    """

    def __init__(self, threads: int, max_memory: int, max_pixels: int) -> None:
        """Start the threads.

        Args:
            threads: their number.
            max_memory: bytes that decoding may take at the same time.
            max_pixels: maximum size of an image, pixels.
        """
        self.pool = ThreadPoolExecutor(threads, "decode", lower_thread_priority)
        self.memory = MemoryBudget(max_memory, self.pool)
        self.max_pixels = max_pixels

    def submit(
        self, upload: Upload, future: Future[Any], work: Callable[[bytes], object], *, share: float = 1.0
    ) -> None:
        """Call `work` with an upload's content in a thread, once there is memory, unless the request has ended.

        Args:
            upload: the image.
            future: receives errors, such as those of `check_image`; if it is cancelled, `work` is not called.
            work: decodes the image.
            share: memory that it needs, relative to decoding alone.
        """
        self.pool.submit(self._start, upload, future, work, share)

    def _start(self, upload: Upload, future: Future[Any], work: Callable[[bytes], object], share: float) -> None:
        def run() -> None:
            with _errors_set_on(future):
                if (content := upload.content) is not None and not future.cancelled():
                    work(content)

        with _errors_set_on(future):
            if (content := upload.content) is not None and not future.cancelled():
                self.memory.run(int(share * check_image(content, self.max_pixels)), run)


@contextmanager
def _errors_set_on(future: Future[Any]) -> Iterator[None]:
    """Set an error of the block on a future that is neither cancelled nor done."""
    try:
        yield
    except BaseException as error:
        if not future.done() and (future.running() or future.set_running_or_notify_cancel()):
            future.set_exception(error)
