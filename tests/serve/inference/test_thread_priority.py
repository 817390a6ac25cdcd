"""Thread priority of compute threads."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serve.inference.thread_priority import NICE_INCREMENT, SWITCH_INTERVAL, lower_thread_priority
from tests.support.fake_server import FakeNetwork, encoded, running


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux only")
def test_the_lower_priority_is_inherited_by_new_threads_only() -> None:
    before = niceness()
    behind = min(before + NICE_INCREMENT, 19)

    def own_and_started() -> tuple[int, int]:
        with ThreadPoolExecutor(1) as inner:
            return niceness(), inner.submit(niceness).result()

    with ThreadPoolExecutor(1, "worker", lower_thread_priority) as pool:
        assert pool.submit(own_and_started).result() == (behind, behind)
    assert niceness() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux only")
def test_threads_of_the_service_have_a_lower_priority_than_the_event_loop() -> None:
    seen = {}

    class Watched(FakeNetwork):
        def submit(self, images):  # type: ignore[no-untyped-def]
            seen["inference"] = niceness()
            return super().submit(images)

    with running({"fake": Watched().source()}) as server:
        assert server.client.post("/detect", content=encoded()).status_code == 200
        assert sys.getswitchinterval() <= SWITCH_INTERVAL
    assert seen["inference"] == min(niceness() + NICE_INCREMENT, 19)
