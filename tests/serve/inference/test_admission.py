"""Admission control: bounded number of images in progress, Retry-After."""

import time

import pytest

from serve.errors import ServiceError
from serve.inference.admission import Admission


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def refusal(admission: Admission, count: int = 1) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        admission.check(count)
    return caught.value


def test_images_in_progress_are_counted() -> None:
    admission = Admission(3, 60)
    with admission.enter() as set_count:
        assert admission.pending == 1
        with pytest.raises(ServiceError):
            set_count(4)
        assert admission.pending == 1
        set_count(2)
        assert admission.pending == 2
        assert refusal(admission, 2).code == "busy"
        with pytest.raises(KeyError), admission.enter():
            assert refusal(admission).code == "busy"
            raise KeyError
    assert admission.pending == 0
    assert refusal(admission, 4).code == "busy"


def test_retry_after_is_the_time_of_the_queue(clock: list[float]) -> None:
    admission = Admission(10, 60)
    blocks = [admission.enter() for _ in range(10)]
    for block in blocks:
        block.__enter__()
    assert refusal(admission).retry_after == 1  # nothing is known yet
    for block in blocks[:4]:
        clock[0] += 2.0
        block.__exit__(None, None, None)
    assert admission.seconds_per_image == pytest.approx(2.0)
    admission.size = 6
    assert refusal(admission).retry_after == 12


def in_a_row(admission: Admission, clock: list[float], seconds: float, count: int = 2) -> None:
    """So many come together, and are answered one after the other."""
    blocks = [admission.enter() for _ in range(count)]
    for block in blocks:
        block.__enter__()
    for block in blocks:
        clock[0] += seconds
        block.__exit__(None, None, None)


def test_a_queue_longer_than_the_deadline_is_full(clock: list[float]) -> None:
    admission = Admission(100, 3.0)
    in_a_row(admission, clock, 1.0)
    with admission.enter(), admission.enter():
        admission.check()  # three of a second each
        with admission.enter():
            assert refusal(admission).code == "busy"


def test_the_time_of_a_single_image_does_not_limit_concurrent_ones(clock: list[float]) -> None:
    """Decoding and the network go on together, and the machine may have been busy with something else."""
    admission = Admission(100, 3.0)
    for seconds in (0.1, 2.0):
        with admission.enter():
            clock[0] += seconds
    with admission.enter():
        admission.check(99)
    in_a_row(admission, clock, 0.01)
    with admission.enter():
        clock[0] += 2.0
    assert admission.seconds_per_image == pytest.approx(0.01)


def test_a_form_alone_is_accepted_however_many_files_it_holds(clock: list[float]) -> None:
    admission = Admission(100, 3.0)
    in_a_row(admission, clock, 1.0)
    with admission.enter() as set_count:
        set_count(16)  # as `check(16)` with nothing else in progress
        assert admission.pending == 16
    assert admission.pending == 0


def test_a_slow_measurement_does_not_reject_for_ever(clock: list[float]) -> None:
    admission = Admission(100, 3.0)
    in_a_row(admission, clock, 100.0)
    with admission.enter():
        assert refusal(admission).code == "busy"
    for _ in range(100):  # alone there is always room
        with admission.enter():
            clock[0] += 0.01
    with admission.enter():
        admission.check(50)


def test_a_stopping_server_rejects_images() -> None:
    admission = Admission(3, 60)
    admission.draining = True
    assert refusal(admission).code == "draining" and refusal(admission).status == 503
