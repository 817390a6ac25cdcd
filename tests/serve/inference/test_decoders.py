"""Decoding threads: the budget decides when an image is decoded; errors and cancelled requests."""

import threading
from concurrent.futures import Future

import pytest

from serve.errors import ServiceError
from serve.inference.decoders import Decoders, Upload
from serve.inference.image_decoding import STRIP_BYTES
from tests.support.fake_server import encoded, image


def test_images_beyond_the_memory_wait() -> None:
    decoders = Decoders(2, 2 * STRIP_BYTES, 1000)
    content = encoded(image(10, 10), "PNG")
    gate = threading.Event()
    futures = [Future[int](), Future[int]()]

    def hold(future: Future[int]) -> None:
        assert gate.wait(10)
        future.set_result(decoders.memory.used)

    decoders.submit(Upload(content), futures[0], lambda _: hold(futures[0]))
    decoders.submit(Upload(content), futures[1], lambda _: hold(futures[1]))
    idle = Future[None]()
    decoders.submit(Upload(b"no image"), idle, lambda _: None)
    with pytest.raises(ServiceError, match="none of"):  # the second thread is free: its image waits for memory
        idle.result(10)
    assert decoders.memory.used == STRIP_BYTES + 700
    gate.set()
    assert [future.result(10) for future in futures] == [STRIP_BYTES + 700] * 2
    decoders.pool.shutdown()


def test_errors_of_the_check_and_of_the_work_are_set_on_the_future() -> None:
    decoders = Decoders(1, STRIP_BYTES, 1000)
    for content, work, expected in (
        (encoded(image(100, 100)), lambda _: None, ServiceError),
        (encoded(image(10, 10)), lambda _: 1 / 0, ZeroDivisionError),
    ):
        future = Future[None]()
        decoders.submit(Upload(content), future, work)
        with pytest.raises(expected):
            future.result(10)
    assert decoders.memory.used == 0
    decoders.pool.shutdown()


def test_the_image_of_an_ended_request_is_not_decoded() -> None:
    decoders = Decoders(1, STRIP_BYTES, 1000)
    done: list[bytes] = []
    cancelled = Future[None]()
    cancelled.cancel()
    decoders.submit(Upload(encoded()), cancelled, done.append)
    decoders.submit(Upload(None), Future(), done.append)
    decoders.pool.shutdown()
    assert done == []
