"""One thread per device that feeds the networks: micro-batches by size and wait, without the late and the gone."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from serve.errors import ServiceError
from serve.logs import log
from serve.metrics import Metrics
from serve.models import ServedModel

RESTART_DELAY = 0.5  # seconds from a thread's death to the next one's start: one that dies at once must not spin
STUCK = 30.0  # seconds after which a network that has not answered is taken for hung


class Inference(NamedTuple):
    """What a network gave for one picture: its outputs without their batch dimension, and two times in seconds."""

    outputs: tuple[np.ndarray, ...]
    queued: float
    network: float


class Job(NamedTuple):
    """A picture in the queue. Cancelling the future takes it out again, unless its batch has been started."""

    model: ServedModel
    square: np.ndarray  # (S, S, 3) uint8 RGB
    deadline: float  # of time.monotonic
    added: float
    future: Future[Inference]


class Batcher:
    """The queue in front of the networks of one device, and the thread that empties it.

    `Admission` bounds its length. The thread starts a batch as soon as the runtime has room for one (one more than
    run together, so that the next is there when one is done) and never waits for a result.
    """

    def __init__(self, wait: float, coming: Callable[[], int], metrics: Metrics) -> None:
        """Take the seconds that a batch waits for company, and how many pictures are on their way to the queue."""
        self._wait = wait
        self._coming = coming
        self._metrics = metrics
        self._jobs: deque[Job] = deque()
        self._running: dict[int, float] = {}  # batch -> when it was started
        self._number = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._alive = False
        self._start_thread()

    @property
    def well(self) -> bool:
        """Whether the thread runs and the networks answer."""
        with self._changed:
            oldest = min(self._running.values(), default=None)
        return self._alive and (oldest is None or time.monotonic() - oldest < STUCK)

    def add(self, model: ServedModel, square: np.ndarray, deadline: float) -> Future[Inference]:
        """Queue a picture of the network's size; the future fails with a `ServiceError`.

        `deadline` is a time of `time.monotonic`: a picture that is still in the queue then costs no inference.
        """
        job = Job(model, square, deadline, time.monotonic(), Future())
        with self._changed:
            if not self._alive:
                raise _dead()
            self._jobs.append(job)
            self._changed.notify_all()
        return job.future

    def stop(self) -> None:
        """End the thread; what is queued still gets its answer."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _start_thread(self, delay: float = 0.0) -> None:
        self._alive = delay == 0
        threading.Thread(target=self._live, args=(delay,), name="inference", daemon=True).start()

    def _live(self, delay: float) -> None:
        """The thread. Whatever ends it but `stop` ends in another thread; what was queued hears of it at once."""
        time.sleep(delay)
        batch: list[Job] = []
        try:
            self._alive = True
            while (batch := self._next_batch()) != []:
                self._start_batch(batch)
        except BaseException as error:
            with self._changed:
                self._alive = False
                lost = [*batch, *self._jobs]
                self._jobs.clear()
            for job in lost:
                _fail(job, _dead())
            self._metrics.restarts.inc()
            log(logging.ERROR, "the inference thread died and is started again", error)
            self._start_thread(RESTART_DELAY)

    def _next_batch(self) -> list[Job]:
        """Wait for pictures and for room; an empty list is the end."""
        with self._changed:
            while True:
                first = self._first()
                if first is None and self._stopping:
                    return []
                if first is not None and len(self._running) <= first.model.parallel:
                    break
                self._changed.wait(timeout=None if first is None else 1.0)
            until = time.monotonic() + self._wait
            while self._count(first.model) < first.model.batch_size and self._coming() and not self._stopping:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return self._take(first.model)

    def _first(self) -> Job | None:
        """The oldest picture that somebody still waits for; those before it are dropped."""
        while self._jobs:
            job = self._jobs[0]
            if not job.future.cancelled() and job.deadline > time.monotonic():
                return job
            _fail(self._jobs.popleft(), late())
        return None

    def _count(self, model: ServedModel) -> int:
        return sum(job.model is model for job in self._jobs)

    def _take(self, model: ServedModel) -> list[Job]:
        """The oldest pictures of a model, as many as go into a batch; the others keep their order."""
        batch: list[Job] = []
        others: deque[Job] = deque()
        while self._jobs:
            job = self._jobs.popleft()
            if job.model is not model or len(batch) == model.batch_size:
                others.append(job)
            elif job.deadline <= time.monotonic():
                _fail(job, late())
            elif job.future.set_running_or_notify_cancel():
                batch.append(job)
        self._jobs = others
        return batch or self._next_batch()

    def _start_batch(self, batch: list[Job]) -> None:
        model, started = batch[0].model, time.monotonic()
        with self._changed:
            self._number += 1
            number = self._number
            self._running[number] = started
        self._metrics.batches.labels(model.name).observe(len(batch))
        try:
            running = model.submit(np.stack([job.square for job in batch]))
        except BaseException as error:
            with self._changed:
                del self._running[number]
            if not isinstance(error, Exception):
                raise  # the end of this thread
            self._failed(batch, error)
            return
        running.add_done_callback(lambda done: self._finish(number, batch, started, done))

    def _finish(self, number: int, batch: list[Job], started: float, done: Future[tuple[np.ndarray, ...]]) -> None:
        """Hand the outputs on; called in a thread of the runtime."""
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
            self._failed(batch, error)

    def _failed(self, batch: list[Job], error: BaseException) -> None:
        log(logging.ERROR, "inference failed", error, model=batch[0].model.name)
        for job in batch:
            _fail(job, ServiceError("inference_failed", "the network could not be run; ask again", 1))


def late() -> ServiceError:
    """The error of a request that was not answered in time."""
    return ServiceError(
        "deadline_exceeded", "there was no answer within the deadline; ask again when there is less to do"
    )


def _dead() -> ServiceError:
    return ServiceError("inference_failed", "the inference thread died and is being started again; ask again", 1)


def _fail(job: Job, error: ServiceError) -> None:
    """Set the error, unless the job was cancelled or has its result."""
    if not job.future.done() and (job.future.running() or job.future.set_running_or_notify_cancel()):
        job.future.set_exception(error)
