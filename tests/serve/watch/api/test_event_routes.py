import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from detection.watch.event import EventKind
from serve.watch.api import event_routes as module
from serve.watch.api import event_schemas as schemas
from serve.watch.settings import WebhookSettings
from serve.watch.storage.database import DatabaseError
from serve.watch.storage.tables import EVENTS
from tests.support.paths import ROOT
from tests.support.watch_events import ended, make_event, write_files
from tests.support.watch_server import WatchApi, running_api

KEY = "a-key-of-20-letters!"
HOOK = {"webhooks": {"phone": WebhookSettings("http://127.0.0.1:9/?token=of-the-address")}}
IDS = [make_event(number).id for number in range(4)]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchApi]:
    """Three events: 1 open, 2 and 3 finished, 2 without a clip."""
    with running_api(tmp_path_factory.mktemp("watch"), HOOK) as running:
        for number, values in ((1, {}), (2, {"camera": "road"}), (3, {"kind": EventKind.APPEARED, "label": "car"})):
            event = make_event(number, seconds=60.0 * number, **values)
            files = write_files(running.folder, event)
            if number == 2:
                files.clip.unlink()
            running.store.begin(event)
            if number > 1:
                running.store.finish(ended(event))
        yield running


def ids(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [int(event["id"], 16) for event in response.json()["events"]]


def identity(number: int) -> str:
    return make_event(number).id


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [3, 2, 1]),
        ("?camera=road", [2]),
        ("?camera=road,yard&label=person", [2, 1]),
        ("?camera=road&camera=yard", [3, 2, 1]),
        ("?kind=appeared&rule=people&zone=gate", [3]),
        ("?after=2026-03-01T22:16:00Z&before=2026-03-01T23:17:00%2B01:00", [2]),
        ("?open=true", [1]),
        (f"?ids={identity(1)},{identity(3)}", [3, 1]),
        ("?label=unicorn", []),
    ],
)
def test_lists(api: WatchApi, query: str, numbers: list[int]) -> None:
    assert ids(api.client.get(f"/events{query}")) == numbers


def test_pages(api: WatchApi) -> None:
    first = api.client.get("/events?limit=2")
    assert ids(first) == [3, 2]
    second = api.client.get("/events", params={"limit": 2, "cursor": first.json()["next"]})
    assert ids(second) == [1] and second.json()["next"] is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/events?limit=0", "limit: Input should be greater than or equal to 1"),
        ("/events?camra=x", "unknown parameter 'camra'; expected camera, label, zone"),
        ("/events?cursor=x", "cursor: is no cursor"),
        ("/events?kind=entered,entred", "kind: no kind 'entred'; expected entered, left, crossed"),
        ("/events/export?kind=x", "kind: no kind 'x'"),
        ("/events?after=2026-01-01T00:00:00", "after: Input should have timezone info"),
        ("/events?limit=1&limit=2", "'limit' is given 2 times"),
        ("/events/xyz", "id: String should match"),
        ("/events/stream?after=-1", "after: Input should be greater"),
        (f"/events/{IDS[1]}/snapshot?boxes=perhaps", "boxes: Input should be a valid boolean"),
    ],
)
def test_invalid_parameters(api: WatchApi, path: str, message: str) -> None:
    response = api.client.get(path)
    assert response.status_code == 422 and response.json()["code"] == "invalid_parameter"
    assert message in response.json()["message"]


def test_an_event_has_boxes_and_deliveries(api: WatchApi) -> None:
    response = api.client.get(f"/events/{identity(3)}")
    event = response.json()
    assert schemas.EventDetail.model_validate(event, strict=False).model_dump(mode="json") == event
    assert len(event["boxes"]) == 2 and [one["phase"] for one in event["deliveries"]] == ["begin", "finish"]
    assert event["deliveries"][0]["destination"] == "webhook phone" and "token" not in response.text
    missing = api.client.get(f"/events/{'f' * 32}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_snapshots(api: WatchApi) -> None:
    for number in (1, 3):
        plain = api.client.get(f"/events/{identity(number)}/snapshot")
        boxed = api.client.get(f"/events/{identity(number)}/snapshot?boxes=true")
        assert (plain.content, boxed.content) == (b"s" * 50, b"b" * 50)
        assert plain.headers["content-type"] == "image/jpeg"
        assert plain.headers["cache-control"] == ("no-store" if number == 1 else "private, max-age=3600")
    assert api.client.head(f"/events/{identity(1)}/snapshot").headers["content-length"] == "50"


@pytest.mark.slow
def test_clips_in_ranges(api: WatchApi) -> None:
    path = f"/events/{identity(3)}/clip"
    whole = api.client.get(path)
    assert whole.headers["content-type"] == "video/mp4" and len(whole.content) == 1000
    assert whole.headers["accept-ranges"] == "bytes"
    part = api.client.get(path, headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == whole.content[10:20]
    assert part.headers["content-range"] == "bytes 10-19/1000"
    end = api.client.get(path, headers={"range": "bytes=-5", "if-range": whole.headers["etag"]})
    assert end.status_code == 206 and end.content == whole.content[-5:]
    assert api.client.get(path, headers={"range": "bytes=5000-"}).status_code == 416
    assert api.client.head(path).headers["content-length"] == "1000"


@pytest.mark.slow
def test_clips_that_are_not_there(api: WatchApi) -> None:
    response = api.client.get(f"/events/{identity(2)}/clip")
    assert response.status_code == 404 and response.json()["message"] == "the clip of this event was not recorded"
    event = make_event(9)
    api.store.begin(event)
    assert "the clip of this event is not there yet" in api.client.get(f"/events/{event.id}/clip").text
    with api.store.database.write() as connection:
        connection.execute(sa.delete(EVENTS).where(EVENTS.c.id == event.id))


def test_an_export_has_data_and_files(api: WatchApi) -> None:
    response = api.client.get(f"/events/export?ids={identity(2)},{identity(3)}")
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == 'attachment; filename="events.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names[0] == "events.jsonl" and len(archive.read("events.jsonl").splitlines()) == 2
    assert [name for name in names if name.endswith(".mp4")] == [f"yard/2026-03-01/{identity(3)}.mp4"]
    assert len(names) == 6


def test_an_export_is_bounded_and_not_empty(api: WatchApi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.client.get("/events/export?camera=attic").json()["code"] == "not_found"
    monkeypatch.setattr(module, "MOST_EVENTS", 2)
    response = api.client.get("/events/export")
    assert response.status_code == 422 and "more than 2 events; choose fewer" in response.json()["message"]


def test_cameras_and_their_frames(api: WatchApi) -> None:
    cameras = api.client.get("/cameras").json()
    assert schemas.CameraList.model_validate(cameras).model_dump(mode="json") == cameras
    frame = api.client.get("/cameras/yard/frame")
    assert frame.headers["content-type"] == "image/jpeg" and frame.content.startswith(b"\xff\xd8")
    assert frame.headers["cache-control"] == "no-store"
    assert api.client.get("/cameras/attic/frame").json()["code"] == "not_found"


def test_deliveries_and_metrics_count(api: WatchApi) -> None:
    values = api.client.get("/deliveries").json()
    assert schemas.DeliveryList.model_validate(values).model_dump(mode="json") == values
    assert values["events"] == 3 and values["open"] == 1 and values["destinations"][0]["pending"] == 5
    text = api.client.get("/metrics").text
    assert "pelee_watch_events 3.0" in text and "pelee_watch_open_events 1.0" in text
    assert 'pelee_watch_deliveries{destination="webhook phone",state="pending"} 5.0' in text


def test_a_database_that_is_away_is_a_503(api: WatchApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise DatabaseError("database: is locked")

    monkeypatch.setattr(api.store.queries, "page", away)
    response = api.client.get("/events")
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    assert response.headers["retry-after"] == "5"


@pytest.mark.slow
def test_openapi_describes_every_endpoint_and_its_values(api: WatchApi) -> None:
    document = api.client.get("/openapi.json")
    assert "token" not in document.text.replace("of-the-address", "token")
    paths = document.json()["paths"]
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    assert set(paths) == set(re.findall(r"`GET (/[^`?]+)`", page.partition("| endpoint | function |")[2]))
    for path, methods in paths.items():
        assert methods["get"]["summary"] and methods["get"]["responses"]["200"], path
        assert {"401", "500"} <= set(methods["get"]["responses"]) or path in ("/healthz", "/readyz")
    listed = api.client.get("/events").json()["events"][0]
    assert set(listed) == set(schemas.ListedEvent.model_fields)


@pytest.mark.slow
def test_every_endpoint_needs_a_key_which_only_files_take_from_the_query(tmp_path: Path) -> None:
    with running_api(tmp_path, api_keys=(KEY,)) as api:
        event = make_event(1)
        write_files(tmp_path, event)
        api.store.finish(ended(event))
        in_query = (f"/events/{event.id}/clip", f"/events/{event.id}/snapshot", "/events/export", "/cameras/yard/frame")
        in_header = ("/events", f"/events/{event.id}", "/cameras", "/deliveries", "/metrics")
        for path in (*in_query, *in_header, "/events/stream"):
            assert api.client.get(path).status_code == 401
            assert api.client.get(path, params={"key": "wrong"}).status_code == 401
            if path != "/events/stream":
                assert api.client.get(path, headers={"x-api-key": KEY}).status_code == 200
        assert [api.client.get(path, params={"key": KEY}).status_code for path in in_query] == [200] * 4
        assert [api.client.get(path, params={"key": KEY}).status_code for path in in_header] == [401] * 5
