"""HTTP endpoints over a real socket: results, and the table of bad input."""

import asyncio
import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

from data.images.image_io import read_image
from serve.errors import STATUS, ServiceError
from serve.inference.model_pool import ModelSource
from serve.web.request_body import BodyReader
from tests.serve.inference.test_image_decoding import png_header
from tests.support.fake_ray_server import ROUTE_SETTINGS, running_on_ray
from tests.support.fake_server import (
    CLASSES,
    AnyServer,
    FakeNetwork,
    RunningServer,
    encoded,
    fake_sources,
    image,
    running,
    wait_until,
)


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture(scope="module")
def local(network: FakeNetwork) -> Iterator[RunningServer]:
    """Server in this process, whose network a test may change."""
    with running(fake_sources(network), **ROUTE_SETTINGS) as server:
        yield server


@pytest.fixture(scope="module", params=["process", pytest.param("ray", marks=pytest.mark.slow)])
def live(request: pytest.FixtureRequest) -> Iterator[AnyServer]:
    """The same application in this process, and as a replica behind Ray Serve."""
    if request.param == "process":
        yield request.getfixturevalue("local")
        return
    pytest.importorskip("ray")
    with running_on_ray() as server:
        yield server


def error(response: Any) -> tuple[int, str]:
    """Status and code of an answer, which is checked for all that every error has."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"code", "message", "request_id"}
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["message"] and "\n" not in body["message"] and "Traceback" not in response.text
    assert response.status_code == STATUS[body["code"]]
    return response.status_code, body["code"]


BRIGHT = {"label": "bright thing", "class_id": 0, "score": 0.9, "box": [20.0, 30.0, 60.0, 60.0]}
DARK = {"label": "dark thing", "class_id": 1, "score": 0.4, "box": [20.0, 30.0, 60.0, 60.0]}


def test_detect_with_a_form_and_with_a_body(live: AnyServer) -> None:
    expected = {"source": "upload", "frame": 0, "width": 80, "height": 60, "detections": [BRIGHT]}
    for options in ({"files": {"file": encoded()}}, {"content": encoded()}):
        response = live.client.post("/detect", **options)
        assert response.status_code == 200
        assert response.json() == expected
        timing = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
        assert timing.keys() == {"decode", "queue", "network", "postprocess", "total"}
        parts = sum(float(timing[stage]) for stage in ("decode", "queue", "network"))
        assert parts <= float(timing["total"]) + 0.2


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("conf=0.1", [BRIGHT, DARK]),
        ("conf=0.95", []),
        ("conf=0.1&classes=dark%20thing,unseen", [DARK]),
        ("conf=0.1&classes=1", [DARK]),
        ("conf=0.1&classes=", [BRIGHT, DARK]),
        ("conf=0.1&classes=bright%20thing&classes=dark%20thing", [BRIGHT, DARK]),
        ("conf=0.1&classes=unseen&classes=1,unseen", [DARK]),
        ("conf=0.1&max_detections=1", [BRIGHT]),
        ("model=second&iou=0.9", [BRIGHT]),
    ],
)
def test_query_parameters_are_applied(live: AnyServer, query: str, found: list) -> None:
    assert live.client.post(f"/detect?{query}", content=encoded()).json()["detections"] == found


def test_exif_is_applied_to_size_and_boxes(live: AnyServer) -> None:
    source = Image.fromarray(image(40, 20))
    exif = source.getexif()
    exif[0x0112] = 6
    result = live.client.post("/detect", content=encoded(source, exif=exif)).json()
    assert (result["width"], result["height"]) == (20, 40)
    assert result["detections"][0]["box"] == [5.0, 20.0, 15.0, 40.0]


def test_the_annotated_image(live: AnyServer) -> None:
    source = image(200, 160)
    response = live.client.post("/detect", content=encoded(source), headers={"accept": "image/jpeg"})
    assert response.status_code == 200 and response.headers["content-type"] == "image/jpeg"
    drawn = read_image(response.content)
    assert drawn.shape == source.shape
    changed = np.abs(drawn.astype(int) - 128).max(axis=2) > 40
    assert changed[80:158, 50].all() and changed[159, 50:149].all()  # the box's left and bottom edge
    assert not changed[:60].any() and not changed[100:140, 70:140].any()


@pytest.mark.parametrize(
    ("accept", "jpeg"),
    [
        ("*/*", False),
        ("image/*", True),
        ("application/json, image/jpeg", False),
        ("application/json;q=0.5, image/jpeg;q=0.9", True),
        ("text/html, image/avif, image/webp, */*;q=0.8", False),
        ("image/jpeg;q=x", False),
        ("", False),
    ],
)
def test_the_accept_header_selects_json_or_jpeg(live: AnyServer, accept: str, jpeg: bool) -> None:
    response = live.client.post("/detect", content=encoded(), headers={"accept": accept})
    assert response.headers["content-type"] == ("image/jpeg" if jpeg else "application/json")


def test_batch_has_a_result_or_an_error_for_each(live: AnyServer) -> None:
    files = [("file", encoded()), ("file", encoded()[:200]), ("file", encoded(image(40, 40), "PNG"))]
    results = live.client.post("/detect/batch?conf=0.1", files=files).json()["results"]
    assert results[0]["detections"] == [BRIGHT, DARK] and results[0]["source"] == "upload"
    assert results[1]["error"]["code"] == "unreadable_picture"
    assert (results[2]["width"], len(results[2]["detections"])) == (40, 2)
    assert error(live.client.post("/detect/batch", files=[("file", encoded())] * 4)) == (422, "too_many_files")
    assert error(live.client.post("/detect/batch", data={"x": "y"}, files={"z": b""})) == (422, "missing_file")


@pytest.mark.slow
def test_a_form_is_parsed_within_admission_and_deadline(network: FakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    parse = BodyReader.files

    async def slow(*args: Any) -> list[bytes]:
        while not gate.is_set():
            await asyncio.sleep(0.01)
        return await parse(*args)

    monkeypatch.setattr(BodyReader, "files", slow)
    sources = {"fake": network.source()}
    with running(sources, deadline_s=60, queue_size=1) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: server.client.post("/detect/batch", files={"file": encoded()}))
        wait_until(lambda: server.service.admission.pending == 1)
        with httpx.Client(base_url=server.address, timeout=60) as other:
            assert error(other.post("/detect", files={"file": encoded()})) == (429, "busy")
        gate.set()
        assert first.result(60).status_code == 200
    gate.clear()
    with running(sources, deadline_s=0.2) as server:
        for path in ("/detect", "/detect/batch"):
            assert error(server.client.post(path, files={"file": encoded()})) == (504, "deadline_exceeded")
        assert server.service.admission.pending == 0


def test_classify(live: AnyServer) -> None:
    response = live.client.post("/classify?top=2", files={"file": encoded()})
    assert response.json() == {
        "source": "upload",
        "width": 80,
        "height": 60,
        "classes": [
            {"label": "bright thing", "class_id": 0, "score": 0.7},
            {"label": "dark thing", "class_id": 1, "score": 0.2},
        ],
    }
    assert len(live.client.post("/classify?top=9", content=encoded()).json()["classes"]) == 3
    assert error(live.client.post("/classify?model=fake", content=encoded())) == (422, "invalid_parameter")


def test_models(live: AnyServer) -> None:
    answer = live.client.get("/models").json()
    assert answer["default"] == {"detection": "fake", "classification": "classes"}
    first, _, last = answer["models"]
    assert first == {
        "name": "fake", "task": "detection", "class_names": CLASSES, "input_size": 32, "default_confidence": 0.5,
        "class_confidence": None, "runtime": "fake", "ready": True,
    }  # fmt: skip
    assert (last["task"], last["default_confidence"]) == ("classification", None)


@pytest.mark.slow
def test_a_model_with_thresholds_by_class() -> None:
    """The second detection, of score 0.4, is below the default of all classes and above that of its own."""
    source = FakeNetwork().source()
    entry = {"confidence": 0.3, "chosen_by": "precision", "precision": 0.8, "recall": 0.5}
    by_class = {"precision": 0.8, "split": "val", "classes": {"dark thing": entry}}
    card = replace(source.card, class_confidence=by_class)
    served = ModelSource(card, lambda: replace(source.load(), card=card))
    with running({"fake": served}) as server:
        (model,) = server.client.get("/models").json()["models"]
        expected = {"bright thing": 0.5, "dark thing": 0.3, CLASSES[2]: 0.5}
        assert (model["class_confidence"], model["default_confidence"]) == (expected, 0.5)
        found = server.client.post("/detect", content=encoded()).json()["detections"]
        assert [one["label"] for one in found] == ["bright thing", "dark thing"]
        found = server.client.post("/detect?conf=0.45", content=encoded()).json()["detections"]
        assert [one["label"] for one in found] == ["bright thing"]
        with connect(f"{server.address.replace('http', 'ws')}/ws") as socket:
            socket.send('{"type": "settings"}')
            assert json.loads(socket.recv())["conf"] is None
            socket.send('{"type": "settings", "conf": 0.25}')
            assert json.loads(socket.recv())["conf"] == 0.25


def test_health(live: AnyServer) -> None:
    assert live.client.get("/healthz").json() == {"status": "ok"}
    assert live.client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/models", "/metrics"])
def test_head_is_get_without_the_body(live: AnyServer, path: str) -> None:
    head, get = live.client.head(path), live.client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_parameters_that_are_unknown_or_given_twice_are_errors(live: AnyServer) -> None:
    for path, part in (
        ("/detect?confidence=0.1", "'confidence'; expected model, conf, iou"),
        ("/detect/batch?x=1", "'x'; expected model, conf, iou, classes, max_detections"),
        ("/classify?conf=0.1", "'conf'; expected model, top"),
        ("/detect?conf=0.1&conf=0.9", "'conf' is given 2 times"),
        ("/classify?top=1&top=2", "'top' is given 2 times"),
        (f"/detect?{'x' * 2000}=1", "xxx...'"),
        ("/detect?" + "&".join(f"x{number}" for number in range(1001)), "1001 parameters, expected at most 1000"),
    ):
        response = live.client.post(path, files={"file": encoded()})
        assert error(response) == (422, "invalid_parameter")
        assert part in response.json()["message"]
        assert len(response.json()["message"]) < 160


def test_an_annotated_image_that_no_jpeg_can_hold_is_no_bug(live: AnyServer) -> None:
    content = encoded(image(65_501, 1), "PNG")
    assert live.client.post("/detect", content=content).status_code == 200
    answer = live.client.post("/detect", content=content, headers={"accept": "image/jpeg"})
    assert error(answer) == (422, "annotation_too_large")


def gif(frames: int = 3) -> bytes:
    file = io.BytesIO()
    sources = [Image.fromarray(image(level=40 * index)) for index in range(frames)]
    sources[0].save(file, format="GIF", save_all=True, append_images=sources[1:])
    return file.getvalue()


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert('boo')</script></svg>"
# What is posted, as httpx has it; and the answer's status and code.
BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "truncated JPEG": ({"content": encoded()[:-400]}, 422, "unreadable_picture"),
    "empty body": ({"content": b""}, 422, "empty"),
    "empty file": ({"files": {"file": b""}}, 422, "empty"),
    "100,000 x 100,000": ({"content": png_header(100_000, 100_000)}, 422, "too_many_pixels"),
    "over the cap": ({"content": bytes(1_000_001)}, 413, "body_too_large"),
    "over the cap in a form": ({"files": {"file": bytes(1_000_001)}}, 413, "body_too_large"),
    "over the cap in chunks": ({"content": [bytes(100_000)] * 11}, 413, "body_too_large"),
    "animated GIF": ({"content": gif()}, 415, "unsupported_picture"),
    "SVG with script": ({"content": SVG, "headers": {"content-type": "image/svg+xml"}}, 415, "unsupported_picture"),
    "text": ({"content": b"hello", "headers": {"content-type": "image/jpeg"}}, 415, "unsupported_picture"),
    "JSON": ({"json": {"file": "x"}}, 415, "unsupported_picture"),
    "missing field": ({"files": {"picture": encoded()}}, 422, "missing_file"),
    "two files": ({"files": [("file", encoded()), ("file", encoded())]}, 422, "too_many_files"),
    "1,000 parts": ({"files": [(f"f{index}", b"x") for index in range(1000)]}, 400, "too_many_parts"),
    "1,000 files": ({"files": [("file", b"x")] * 1000}, 400, "too_many_parts"),
    "no boundary": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "bad_multipart"),
    "conf NaN": ({"content": encoded(), "params": {"conf": "NaN"}}, 422, "invalid_parameter"),
    "conf -1": ({"content": encoded(), "params": {"conf": "-1"}}, 422, "invalid_parameter"),
    "conf 1e9": ({"content": encoded(), "params": {"conf": "1e9"}}, 422, "invalid_parameter"),
    "conf Infinity": ({"content": encoded(), "params": {"conf": "Infinity"}}, 422, "invalid_parameter"),
    "iou text": ({"content": encoded(), "params": {"iou": "much"}}, 422, "invalid_parameter"),
    "max_detections 0": ({"content": encoded(), "params": {"max_detections": "0"}}, 422, "invalid_parameter"),
    "max_detections 1e9": ({"content": encoded(), "params": {"max_detections": 10**9}}, 422, "invalid_parameter"),
    "unknown class": ({"content": encoded(), "params": {"classes": "ghost"}}, 422, "invalid_parameter"),
    "class id too large": ({"content": encoded(), "params": {"classes": "3"}}, 422, "invalid_parameter"),
    "class id enormous": ({"content": encoded(), "params": {"classes": "9" * 2000}}, 422, "invalid_parameter"),
    "unknown model": ({"content": encoded(), "params": {"model": "ghost"}}, 404, "unknown_model"),
    "model as a path": ({"content": encoded(), "params": {"model": "../../etc"}}, 404, "unknown_model"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_invalid_input_is_an_error_of_its_code(live: AnyServer, network: FakeNetwork, name: str) -> None:
    options, status, code = BAD[name]
    before = network.image_count
    response = live.client.post("/detect", **options)
    assert error(response) == (status, code)
    assert network.image_count == before
    assert "alert" not in response.text and "boo" not in response.text
    assert live.client.post("/detect", content=encoded()).status_code == 200  # and it lives


GOOD = {
    "wrong content type": {"content": encoded(form="PNG"), "headers": {"content-type": "image/gif"}},
    "no content type": {"content": encoded(), "headers": {}},
    "curl --data-binary": {
        "content": encoded(),
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    },
    "file named ../../x": {"files": {"file": ("../../x", encoded(), "text/html")}},
    "1 x 1": {"content": encoded(image(1, 1))},
    "10,000 x 1": {"content": encoded(image(10_000, 1))},
    "JPEG with a ZIP": {"content": encoded() + b"PK\x03\x04" + bytes(range(256)) * 100},
}


@pytest.mark.parametrize("name", GOOD)
def test_unusual_valid_input_is_accepted(live: AnyServer, name: str) -> None:
    response = live.client.post("/detect", **GOOD[name])
    assert response.status_code == 200 and response.json()["source"] == "upload"


def test_an_unknown_name_is_answered_with_the_known_ones(live: AnyServer) -> None:
    message = live.client.post("/detect?model=ghost", content=encoded()).json()["message"]
    assert message == "unknown model 'ghost'; this server has fake, second, classes"
    assert "ghost" * 13 not in live.client.post(f"/detect?model={'ghost' * 30}", content=encoded()).text


def test_unknown_paths_and_methods_are_errors(live: AnyServer) -> None:
    assert error(live.client.get("/nowhere")) == (404, "not_found")
    assert error(live.client.get("/../../etc/passwd")) == (404, "not_found")
    wrong = live.client.get("/detect")
    assert error(wrong) == (405, "method_not_allowed") and wrong.headers["allow"] == "POST"


def test_nan_outputs_are_an_error(local: RunningServer, network: FakeNetwork) -> None:
    network.invalid = True
    try:
        assert error(local.client.post("/detect", content=encoded())) == (500, "model_invalid")
        results = local.client.post("/detect/batch", files={"file": encoded()}).json()["results"]
        assert results[0]["error"]["code"] == "model_invalid"
    finally:
        network.invalid = False


def test_an_internal_error_has_no_traceback(local: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("serve.inference.service.to_dict", lambda *_: 1 / 0)
    assert error(local.client.post("/detect", content=encoded())) == (500, "internal_error")
    assert any("ZeroDivisionError" in str(record.exc_info) for record in caplog.records)


def test_metrics_count_requests_and_stages(live: AnyServer) -> None:
    before = {
        "requests": live.metric("pelee_requests_total", endpoint="/detect", model="fake", status="200"),
        "stages": live.metric("pelee_stage_seconds_count", stage="network", model="fake"),
    }
    live.client.post("/detect", content=encoded())
    live.client.post("/no/such/path/at/all")
    assert live.metric("pelee_requests_total", endpoint="/detect", model="fake", status="200") == before["requests"] + 1
    assert live.metric("pelee_stage_seconds_count", stage="network", model="fake") == before["stages"] + 1
    text = live.client.get("/metrics").text
    for name in (
        "pelee_queue_depth 0.0",
        "pelee_request_seconds_bucket",
        "pelee_batch_pictures_bucket",
        "pelee_refused",
    ):
        assert name in text
    assert "such" not in text  # a label never holds what a client sent
    assert 'endpoint="other"' in text


def test_a_reload_needs_keys(live: AnyServer) -> None:
    assert error(live.client.post("/models/fake/reload")) == (403, "forbidden")


@pytest.mark.slow
def test_every_error_code_has_a_status(tmp_path: Any) -> None:
    from pathlib import Path

    import serve

    codes = set()
    for path in Path(serve.__file__).parent.rglob("*.py"):
        codes |= set(re.findall(r'ServiceError\(\s*"([a-z_]+)"', path.read_text()))
    assert codes <= STATUS.keys() and len(codes) > 15
    with pytest.raises(KeyError):
        _ = ServiceError("nonsense", "").status


@pytest.mark.slow
def test_requests_before_the_models_are_loaded_get_503(network: FakeNetwork) -> None:
    gate = threading.Event()
    real = network.source()

    def slow() -> Any:
        gate.wait(30)
        return real.load()

    with running({"fake": ModelSource(real.card, slow)}, ready=False) as server:
        assert server.client.get("/healthz").status_code == 200
        assert error(server.client.get("/readyz")) == (503, "not_ready")
        refused = server.client.post("/detect", content=encoded())
        assert error(refused) == (503, "not_ready") and refused.headers["retry-after"] == "1"
        assert json.loads(server.client.get("/models").text)["models"][0]["ready"] is False
        assert server.metric("pelee_refused_total", reason="not_ready", model="") == 2
        gate.set()
        wait_until(lambda: server.client.get("/readyz").status_code == 200)
        assert server.client.post("/detect", content=encoded()).status_code == 200
        assert error(server.client.post("/classify", content=encoded())) == (404, "unknown_model")
