"""Inference service: pipeline from bytes to results, deadline and disconnect, threads."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from detection.inference.options import DetectionOptions
from serve.errors import ClientDisconnected, ServiceError
from serve.inference import service as service_module
from serve.inference.service import Service
from tests.support.fake_server import FakeNetwork, encoded, image, settings


def with_service(use: Callable[[Service], Coroutine[Any, Any, None]], network: FakeNetwork, **changes: Any) -> Service:
    """Run `use` with a service whose models are loaded, and close it."""

    async def run() -> Service:
        classes = FakeNetwork(classification=True).source("classes")
        service = Service(settings(**changes), {"fake": network.source(), "classes": classes})
        try:
            await service.load()
            await use(service)
        finally:
            network.gate.set()
            service.close()
        return service

    return asyncio.run(run())


async def never() -> None:
    await asyncio.Event().wait()


def test_detect_and_classify() -> None:
    async def use(service: Service) -> None:
        assert service.ready
        detector, classifier = service.models.get("fake", "detection"), service.models.get("classes", "classification")
        answer = await service.detect(encoded(image(80, 60)), detector, DetectionOptions(0.3))
        assert [found["label"] for found in answer.values["detections"]] == ["bright thing", "dark thing"]
        assert (answer.values["source"], answer.values["width"], answer.jpeg) == ("upload", 80, None)
        assert answer.timings.keys() == {"decode", "queue", "network", "postprocess", "total"}
        drawn = await service.detect(encoded(), detector, DetectionOptions(0.3), annotated=True)
        assert drawn.jpeg is not None and drawn.jpeg.startswith(b"\xff\xd8")
        classified = await service.classify(encoded(), classifier, 2)
        assert [found["score"] for found in classified.values["classes"]] == pytest.approx([0.7, 0.2])
        with pytest.raises(ServiceError, match="convert"):
            await service.detect(b"no image", detector, DetectionOptions())

    with_service(use, FakeNetwork())


def test_work_is_cancelled_at_the_deadline() -> None:
    network = FakeNetwork()

    async def use(service: Service) -> None:
        network.gate.clear()
        work = service.detect(encoded(), service.models.get("fake", "detection"), DetectionOptions())
        with pytest.raises(ServiceError) as caught:
            await service.run_until_disconnect(work, never(), "fake")
        assert caught.value.code == "deadline_exceeded"
        service.count_error(caught.value, "fake")

    service = with_service(use, network, deadline_s=0.2)
    dropped = service.metrics.registry.get_sample_value
    assert dropped("pelee_dropped_total", {"reason": "deadline", "model": "fake"}) == 1


def test_work_is_cancelled_at_a_disconnect() -> None:
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def disconnect() -> None:
        await asyncio.sleep(0)

    async def use(service: Service) -> None:
        with pytest.raises(ClientDisconnected):
            await service.run_until_disconnect(work(), disconnect(), "fake")
        await asyncio.sleep(0)

    service = with_service(use, FakeNetwork(), deadline_s=60)
    assert cancelled.is_set()
    dropped = service.metrics.registry.get_sample_value
    assert dropped("pelee_dropped_total", {"reason": "disconnect", "model": "fake"}) == 1


def test_free_memory_is_returned_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    returned = threading.Event()
    monkeypatch.setattr("serve.inference.service.IDLE_S", 0.01)
    monkeypatch.setattr("serve.inference.service.return_free_memory", returned.set)

    async def use(service: Service) -> None:
        for _ in range(2):
            returned.clear()
            await service.detect(encoded(), service.models.get("fake", "detection"), DetectionOptions())
            async with asyncio.timeout(30):
                while not returned.is_set():
                    await asyncio.sleep(0.01)

    with_service(use, FakeNetwork())


@pytest.mark.parametrize("annotated", [False, True], ids=["of a cancelled request", "of an annotated image"])
def test_free_memory_is_returned_after_all_work(annotated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding and drawing may take longer than the idle time after the request or its detection has ended."""
    events: list[str] = []
    begun, looked = threading.Event(), threading.Semaphore(0)
    monkeypatch.setattr("serve.inference.service.IDLE_S", 0.01)
    monkeypatch.setattr("serve.inference.service.return_free_memory", lambda: events.append("returned"))
    on_idle_timer = Service._on_idle_timer

    def look(self: Service) -> None:
        on_idle_timer(self)
        looked.release()

    monkeypatch.setattr(Service, "_on_idle_timer", look)
    name = "encode_jpeg" if annotated else "decode_image"
    work = getattr(service_module, name)

    def slow(*args: Any) -> Any:
        begun.set()
        if annotated or not events:
            assert all(looked.acquire(timeout=60) for _ in range(3))
            events.append("done")
        return work(*args)

    monkeypatch.setattr(service_module, name, slow)

    async def use(service: Service) -> None:
        model = service.models.get("fake", "detection")
        task = asyncio.ensure_future(service.detect(encoded(), model, DetectionOptions(), annotated=annotated))
        async with asyncio.timeout(60):
            while not begun.is_set():
                await asyncio.sleep(0.01)
            if not annotated:
                task.cancel()
            await asyncio.wait([task])
            while "returned" not in events:
                await asyncio.sleep(0.01)

    with_service(use, FakeNetwork())
    assert events == ["done", "returned"]


def test_an_image_that_no_jpeg_can_hold_is_not_annotated() -> None:
    async def use(service: Service) -> None:
        content = encoded(image(65_501, 2), "PNG")
        detector = service.models.get("fake", "detection")
        assert (await service.detect(content, detector, DetectionOptions())).values["width"] == 65_501
        with pytest.raises(ServiceError, match="JSON") as caught:
            await service.detect(content, detector, DetectionOptions(), annotated=True)
        assert caught.value.code == "annotation_too_large"
        whole = await service.detect(encoded(image(65_500, 2), "PNG"), detector, DetectionOptions(), annotated=True)
        assert whole.jpeg is not None

    with_service(use, FakeNetwork())


def test_only_errors_of_load_are_counted() -> None:
    async def use(service: Service) -> None:
        for code in ("busy", "not_ready", "unsupported_picture"):
            service.count_error(ServiceError(code, "x"), "fake")

    value = with_service(use, FakeNetwork()).metrics.registry.get_sample_value
    assert value("pelee_refused_total", {"reason": "busy", "model": "fake"}) == 1
    assert value("pelee_refused_total", {"reason": "unsupported_picture", "model": "fake"}) is None
