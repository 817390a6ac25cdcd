"""Dynamic batching: batches, expired and cancelled jobs, failures, restart of the worker."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait

import numpy as np
import pytest

from serve.errors import ServiceError
from serve.inference.batcher import Batcher, Inference, Job
from serve.inference.model_pool import ServedModel
from serve.observability.metrics import Metrics
from tests.support.fake_server import SIZE, FakeNetwork, wait_until


class Queue:
    """Batcher with a fake network and a settable number of images that are being decoded.

    `asked` holds the queue's length at each time that the worker asked for that number, and `restart` lets a failed
    worker start again.
    """

    def __init__(self, wait: float) -> None:
        self.decoding = 0
        self.asked: list[int] = []
        self.restart = threading.Event()
        self.metrics = Metrics()
        self.batcher = Batcher(wait, self._decoding_count, self.metrics, sleep=lambda _: self.restart.wait(20))
        self.network = FakeNetwork()
        self.model = self.network.source(batch_size=4).load()

    def _decoding_count(self) -> int:
        self.asked.append(len(self.batcher._jobs))
        return self.decoding

    def add(self, level: int = 100, seconds: float = 30.0, model: ServedModel | None = None) -> "Future[Inference]":
        square, now = np.full((SIZE, SIZE, 3), level, np.uint8), time.monotonic()
        job = Job(model or self.model, square, now + seconds, now, Future())
        self.batcher.add(job)
        return job.future

    def hold(self) -> "list[Future[Inference]]":
        """Keep the network busy, so that what is added now stays in the queue."""
        self.network.gate.clear()
        held = [self.add(1)]
        wait_until(lambda: self.batcher._running)
        return held


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    made = Queue(getattr(request, "param", 0.0))
    yield made
    made.network.gate.set()
    made.batcher.stop()


def error(future: "Future[Inference]") -> ServiceError:
    raised = future.exception(20)
    assert isinstance(raised, ServiceError)
    return raised


def test_one_image(queue: Queue) -> None:
    result = queue.add().result(20)
    assert result.outputs[0].shape == (2, 3) and result.outputs[1].shape == (2, 4)
    assert result.queued >= 0 and result.network > 0
    assert queue.network.seen == [[100.0]]


def test_waiting_images_form_a_batch_in_order(queue: Queue) -> None:
    queue.hold()
    futures = [queue.add(level) for level in range(10, 20)]
    queue.network.gate.set()
    wait(futures, 20)
    assert queue.network.seen[1:] == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19]]
    assert queue.metrics.registry.get_sample_value("pelee_batch_pictures_sum", {"model": "fake"}) == 11


def test_a_single_batch_runs_synchronously_and_others_asynchronously(queue: Queue) -> None:
    queue.add().result(20)
    assert queue.network.called == 1
    held = queue.hold()
    futures = [queue.add(level) for level in range(10, 20)]
    queue.network.gate.set()
    wait([*held, *futures], 20)
    assert len(queue.network.seen) == 5 and queue.network.called <= 3  # behind the last one there is nothing


def test_two_models_alternate_and_are_never_mixed(queue: Queue) -> None:
    other = FakeNetwork()
    second = other.source("other").load()
    queue.hold()
    futures = [queue.add(level, model=second if level % 2 else None) for level in range(10, 18)]
    queue.network.gate.set()
    wait(futures, 20)
    assert queue.network.seen[1:] == [[10, 12, 14, 16]] and other.seen == [[11, 13, 15, 17]]


@pytest.mark.parametrize("queue", [20.0], indirect=True)
def test_a_batch_waits_for_images_being_decoded(queue: Queue) -> None:
    queue.decoding = 3
    futures = [queue.add(level) for level in (10, 11, 12)]
    wait_until(lambda: 3 in queue.asked)  # the worker has seen all three, and waits for a fourth
    assert queue.network.seen == []
    futures.append(queue.add(13))
    wait(futures, 10)
    assert queue.network.seen == [[10, 11, 12, 13]]


@pytest.mark.parametrize("queue", [20.0], indirect=True)
def test_a_batch_does_not_wait_if_nothing_is_decoded(queue: Queue) -> None:
    assert queue.add().result(5).outputs
    assert queue.network.seen == [[100.0]]


@pytest.mark.parametrize("queue", [0.05], indirect=True)
def test_a_batch_waits_no_longer_than_its_timeout(queue: Queue) -> None:
    queue.decoding = 1
    assert queue.add().result(5).outputs
    assert queue.network.seen == [[100.0]] and queue.asked


def test_cancelled_and_expired_jobs_are_not_run(queue: Queue) -> None:
    held = queue.hold()
    gone, late, stays = queue.add(50), queue.add(60, seconds=0.0), queue.add(70)
    assert gone.cancel()
    queue.network.gate.set()
    wait([*held, stays], 20)
    assert error(late).code == "deadline_exceeded"
    with pytest.raises(CancelledError):
        gone.result()
    assert [70.0] in queue.network.seen and all(level in (1, 70) for batch in queue.network.seen for level in batch)


def test_the_queue_behind_a_hanging_network_does_not_grow(queue: Queue) -> None:
    queue.hold()
    for _ in range(5):
        assert queue.add(10).cancel()
    queue.add(20)
    assert [job.square.mean() for job in queue.batcher._jobs] == [20]


def test_nan_outputs_fail_the_job(queue: Queue) -> None:
    queue.network.invalid = True
    assert error(queue.add()).code == "model_invalid"
    queue.network.invalid = False
    queue.add().result(20)


def test_a_failed_batch_leaves_the_worker_healthy(queue: Queue) -> None:
    queue.network.error = RuntimeError("out of memory")
    assert error(queue.add()).code == "inference_failed"
    assert queue.batcher.healthy
    queue.add().result(20)
    assert queue.metrics.registry.get_sample_value("pelee_inference_restarts_total") == 0


class Death(BaseException):
    pass


def test_a_worker_that_dies_is_restarted(queue: Queue) -> None:
    held = queue.hold()
    waiting = [queue.add(level) for level in range(10, 16)]
    queue.network.error = Death()
    queue.network.gate.set()
    assert {error(future).code for future in waiting} == {"inference_failed"}
    wait(held, 20)
    wait_until(lambda: not queue.batcher.healthy)
    assert "died" in error(queue.add()).message
    queue.restart.set()
    wait_until(lambda: queue.batcher.healthy)
    queue.add().result(20)
    assert queue.metrics.registry.get_sample_value("pelee_inference_restarts_total") == 1


def test_a_hung_network_is_not_healthy(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.hold()
    assert queue.batcher.healthy
    monkeypatch.setattr("serve.inference.batcher.HANG_TIMEOUT", 0.0)
    assert not queue.batcher.healthy


def test_stop_processes_queued_jobs(queue: Queue) -> None:
    queue.hold()
    last = queue.add(10)
    queue.batcher.stop()
    queue.network.gate.set()
    assert last.result(20).outputs
    assert queue.network.seen == [[1.0], [10.0]]
