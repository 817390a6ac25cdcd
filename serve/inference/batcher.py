"""Dynamic batching: one worker thread groups requests by size and timeout, dropping expired and cancelled ones.

A batch collects what has queued up behind a busy network. `_wait_for_batch` also waits for images that are still
being decoded; that happens only for models whose `batch_size` is over 1, which OpenVINO's is not by default, because
several images in parallel are as fast there as a batch (see `serve.inference.model_pool`).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from pelee.runtime.session import RawOutputs
from serve.errors import ServiceError
from serve.inference.model_pool import ServedModel
from serve.inference.thread_priority import lower_thread_priority
from serve.observability.json_logging import log
from serve.observability.metrics import Metrics

RESTART_DELAY = 0.5  # s between a worker's failure and its restart, so that one that fails at once does not spin
HANG_TIMEOUT = 30.0  # s without a result after which a network counts as hung


class Inference(NamedTuple):
    """Raw outputs of one image.

    Attributes:
        outputs: the network's arrays without their batch dimension.
        queued: seconds in the queue.
        network: seconds in the network.
    """

    outputs: RawOutputs
    queued: float
    network: float


class Job(NamedTuple):
    """Queued image. Cancelling the future removes it, unless its batch has been started.

    Attributes:
        model: the network to run.
        square: (S, S, 3) uint8 RGB.
        deadline: on the clock of `time.monotonic`; an image still queued then is dropped without inference.
        added: time of queueing, on the same clock.
        future: receives the result or a `ServiceError`.
    """

    model: ServedModel
    square: np.ndarray
    deadline: float
    added: float
    future: Future[Inference]


class Batcher:
    """Queue in front of the networks of one device, and the worker thread that empties it.

    `Admission` bounds its length. Where more images wait than one batch takes, the worker submits a batch as soon as
    the runtime has room for one (one more than run in parallel, so that the next is ready when one finishes), and waits
    for no result. A batch with nothing queued behind it runs in the worker thread itself, which is a third faster:
    there is no other thread to wake.
    """

    def __init__(
        self,
        wait: float,
        decoding_count: Callable[[], int],
        metrics: Metrics,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Start the worker.

        Args:
            wait: seconds that a batch waits for images that are being decoded.
            decoding_count: returns the number of images being decoded.
            metrics: receives batch sizes and restarts.
            sleep: waits so many seconds before a restart.
        """
        self._wait = wait
        self._decoding_count = decoding_count
        self._metrics = metrics
        self._sleep = sleep
        self._jobs: deque[Job] = deque()
        self._running: dict[int, float] = {}  # batch -> when it was started
        self._number = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._alive = False
        self._start_thread()

    @property
    def healthy(self) -> bool:
        """Whether the worker runs and no network hangs."""
        with self._changed:
            oldest = min(self._running.values(), default=None)
        return self._alive and (oldest is None or time.monotonic() - oldest < HANG_TIMEOUT)

    def add(self, job: Job) -> None:
        """Queue an image of the network's size; thread-safe. The future may fail with a `ServiceError`."""
        with self._changed:
            if self._alive:
                self._oldest()  # drops cancelled jobs, which would pile up behind a hung network
                self._jobs.append(job)
                self._changed.notify_all()
                return
        _fail(job, worker_died())

    def stop(self) -> None:
        """Stop the worker once the queue is empty; queued jobs are still processed."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _start_thread(self, delay: float = 0.0) -> None:
        self._alive = delay == 0
        threading.Thread(target=self._worker_loop, args=(delay,), name="inference", daemon=True).start()

    def _worker_loop(self, delay: float) -> None:
        """Worker loop. On an unexpected exception, fail all queued jobs and start a replacement thread."""
        lower_thread_priority()
        if delay:
            self._sleep(delay)
        batch: list[Job] = []
        try:
            self._alive = True
            while batch := self._next_batch():
                self._start_batch(batch)
                batch = []  # a reference here would keep a replaced model in memory
        except BaseException as error:
            with self._changed:
                self._alive = False
                lost = [*batch, *self._jobs]
                self._jobs.clear()
            for job in lost:
                _fail(job, worker_died())
            self._metrics.restarts.inc()
            log(logging.ERROR, "the inference thread died and is started again", error)
            self._start_thread(RESTART_DELAY)

    def _next_batch(self) -> list[Job]:
        """Wait for jobs and for room in the runtime; an empty list means stop."""
        with self._changed:
            while True:
                first = self._oldest()
                if first is None and self._stopping:
                    return []
                if first is None or len(self._running) > first.model.session.parallel:
                    self._changed.wait(timeout=None if first is None else 1.0)
                    continue
                self._wait_for_batch(first.model)
                if batch := self._take(first.model):
                    return batch

    def _oldest(self) -> Job | None:
        """The oldest job that is neither cancelled nor expired; those before it are dropped."""
        while self._jobs:
            job = self._jobs[0]
            if not self._drop_if_done(job):
                return job
            self._jobs.popleft()
        return None

    def _drop_if_done(self, job: Job) -> bool:
        """Whether a job is cancelled or expired; an expired one fails with `deadline_exceeded`."""
        if job.deadline <= time.monotonic() and not job.future.cancelled():
            _fail(job, deadline_error())
        return job.future.done()

    def _wait_for_batch(self, model: ServedModel) -> None:
        """Wait up to the batching timeout for images that are being decoded, until the batch is full."""
        until = time.monotonic() + self._wait
        while sum(job.model is model for job in self._jobs) < model.batch_size and self._decoding_count():
            left = until - time.monotonic()
            if left <= 0 or self._stopping:
                break
            self._changed.wait(left)

    def _take(self, model: ServedModel) -> list[Job]:
        """Dequeue a model's oldest jobs, at most a batch; the others keep their order."""
        batch: list[Job] = []
        others: deque[Job] = deque()
        for job in self._jobs:
            if job.model is not model or len(batch) == model.batch_size:
                others.append(job)
            elif not self._drop_if_done(job) and job.future.set_running_or_notify_cancel():
                batch.append(job)
        self._jobs = others
        return batch

    def _start_batch(self, batch: list[Job]) -> None:
        model, started = batch[0].model, time.monotonic()
        with self._changed:
            self._number += 1
            number = self._number
            low_latency_session = None if self._running or self._jobs else model.low_latency_session
            self._running[number] = started
        self._metrics.batches.labels(model.name).observe(len(batch))
        try:
            images = np.stack([job.square for job in batch])
            if low_latency_session is None:
                running = model.session.submit(images)
            else:
                running = Future[RawOutputs]()
                running.set_result(low_latency_session(images))
        except BaseException as error:
            with self._changed:
                del self._running[number]
            if not isinstance(error, Exception):
                raise  # ends the worker
            self._fail_batch(batch, error)
            return
        running.add_done_callback(lambda done: self._finish(number, batch, started, done))

    def _finish(self, number: int, batch: list[Job], started: float, done: Future[RawOutputs]) -> None:
        """Distribute a batch's outputs to its jobs; called in a thread of the runtime, or in the worker."""
        now = time.monotonic()
        with self._changed:
            del self._running[number]
            self._changed.notify_all()
        try:
            outputs = done.result()
            for index, job in enumerate(batch):
                own = tuple(output[index] for output in outputs)
                if all(np.isfinite(output).all() for output in own):
                    job.future.set_result(Inference(own, started - job.added, now - started))
                else:
                    _fail(job, ServiceError("model_invalid", f"the model {job.model.name} gave NaN: it cannot be used"))
        except BaseException as error:
            self._fail_batch(batch, error)

    def _fail_batch(self, batch: list[Job], error: BaseException) -> None:
        log(logging.ERROR, "inference failed", error, model=batch[0].model.name)
        for job in batch:
            _fail(job, ServiceError("inference_failed", "the network could not be run; ask again", 1))


def deadline_error() -> ServiceError:
    """Error of a request that missed its deadline."""
    return ServiceError(
        "deadline_exceeded", "there was no answer within the deadline; ask again when there is less to do"
    )


def worker_died() -> ServiceError:
    """Error of the jobs that were queued when the worker failed."""
    return ServiceError("inference_failed", "the inference thread died and is being started again; ask again", 1)


def _fail(job: Job, error: ServiceError) -> None:
    """Set a job's error, unless it was cancelled or has its result."""
    if not job.future.done() and (job.future.running() or job.future.set_running_or_notify_cancel()):
        job.future.set_exception(error)
