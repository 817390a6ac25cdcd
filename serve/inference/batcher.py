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
from serve.inference.model_pool import ServedModel
from serve.inference.thread_priority import step_back
from serve.observability.json_logging import log
from serve.observability.metrics import Metrics

Outputs = tuple[np.ndarray, ...]
RESTART_DELAY = 0.5  # seconds from a thread's death to the next one's start: one that dies at once must not spin
STUCK = 30.0  # seconds after which a network that has not answered is taken for hung


class Inference(NamedTuple):
    """What a network gave for one picture: its outputs without their batch dimension, and two times in seconds."""

    outputs: tuple[np.ndarray, ...]
    queued: float
    network: float


class Job(NamedTuple):
    """A picture in the queue. Cancelling the future takes it out again, unless its batch has been started.

    A `deadline` is a time of `time.monotonic`: a picture that is still in the queue then costs no inference.
    """

    model: ServedModel
    square: np.ndarray  # (S, S, 3) uint8 RGB
    deadline: float  # of time.monotonic
    added: float
    future: Future[Inference]


class Batcher:
    """The queue in front of the networks of one device, and the thread that empties it.

    `Admission` bounds its length. Where more pictures wait than one batch takes, the thread starts a batch as soon as
    the runtime has room for one (one more than run together, so that the next is there when one is done), and waits for
    no result. A batch behind which nothing waits is run by the thread itself, which is a third faster: there is no
    other thread to wake.
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

    def add(self, job: Job) -> None:
        """Queue a picture of the network's size, from any thread; the future may fail with a `ServiceError`."""
        with self._changed:
            if self._alive:
                self._first()  # behind a network that hangs, those that gave up must not pile up
                self._jobs.append(job)
                self._changed.notify_all()
                return
        _fail(job, _dead())

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
        step_back()
        time.sleep(delay)
        batch: list[Job] = []
        try:
            self._alive = True
            while batch := self._next_batch():
                self._start_batch(batch)
                batch = []  # it would keep a model that has been replaced
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
                if first is None or len(self._running) > first.model.session.parallel:
                    self._changed.wait(timeout=None if first is None else 1.0)
                    continue
                self._wait_for_company(first.model)
                if batch := self._take(first.model):
                    return batch

    def _first(self) -> Job | None:
        """The oldest picture that somebody still waits for; those before it are dropped."""
        while self._jobs:
            job = self._jobs[0]
            if not self._drop(job):
                return job
            self._jobs.popleft()
        return None

    def _drop(self, job: Job) -> bool:
        """Whether nobody waits for a picture any more; who still does and is too late hears of it."""
        if job.deadline <= time.monotonic() and not job.future.cancelled():
            _fail(job, late())
        return job.future.done()

    def _wait_for_company(self, model: ServedModel) -> None:
        """Give pictures that are being decoded a little time to come along."""
        until = time.monotonic() + self._wait
        while sum(job.model is model for job in self._jobs) < model.batch_size and self._coming():
            left = until - time.monotonic()
            if left <= 0 or self._stopping:
                break
            self._changed.wait(left)

    def _take(self, model: ServedModel) -> list[Job]:
        """The oldest pictures of a model, as many as go into a batch; the others keep their order."""
        batch: list[Job] = []
        others: deque[Job] = deque()
        for job in self._jobs:
            if job.model is not model or len(batch) == model.batch_size:
                others.append(job)
            elif not self._drop(job) and job.future.set_running_or_notify_cancel():
                batch.append(job)
        self._jobs = others
        return batch

    def _start_batch(self, batch: list[Job]) -> None:
        model, started = batch[0].model, time.monotonic()
        with self._changed:
            self._number += 1
            number = self._number
            alone = None if self._running or self._jobs else model.alone
            self._running[number] = started
        self._metrics.batches.labels(model.name).observe(len(batch))
        try:
            pictures = np.stack([job.square for job in batch])
            if alone is None:
                running = model.session.submit(pictures)
            else:
                running = Future[Outputs]()
                running.set_result(alone(pictures))
        except BaseException as error:
            with self._changed:
                del self._running[number]
            if not isinstance(error, Exception):
                raise  # the end of this thread
            self._failed(batch, error)
            return
        running.add_done_callback(lambda done: self._finish(number, batch, started, done))

    def _finish(self, number: int, batch: list[Job], started: float, done: Future[Outputs]) -> None:
        """Hand the outputs on; called in a thread of the runtime, or in the inference thread."""
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
