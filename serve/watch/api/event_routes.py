"""HTTP endpoints of a watch: events, their files, cameras, deliveries, metrics."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse

from data.errors import SettingsError
from detection.watch.event import Event, EventFiles
from serve.errors import ServiceError, short
from serve.inference.image_decoding import encode_jpeg
from serve.watch.api import event_schemas as schemas
from serve.watch.api.event_export import MOST_EVENTS, zip_of_events
from serve.watch.api.event_stream import ChangeResponse, change_stream
from serve.watch.api.watch_metrics import WatchMetrics
from serve.watch.storage.database import DatabaseError
from serve.watch.watch_store import WatchStore
from serve.web.routes import API_KEY, check_query, errors, require_key, service_of
from serve.web.schemas import BINARY, shell
from serve.web.security import check_key

Result = TypeVar("Result")
ADDRESS = "http://127.0.0.1:8000"
DESCRIPTION = "Events of cameras, their snapshots and clips, and a stream of changes."
EventId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$", description="Id of an event.")]
CameraName = Annotated[str, PathParameter(max_length=64, description="Name of a camera.")]
#: Files of a finished event do not change; they are private to the key.
CACHED = {"cache-control": "private, max-age=3600"}


class WatchCameras(Protocol):
    """Cameras of a running watch, as `detection.watch.watcher.Watcher` has them; called in any thread."""

    def status(self) -> list[dict[str, Any]]:
        """State and figures of each camera."""

    def image(self, camera: str) -> np.ndarray | None:
        """Last analyzed frame, (H, W, 3) uint8 RGB; None for none."""


# A key in the header; in `file_router`, whose addresses stand in pages, or in the query.
watch_router = APIRouter(tags=["events"])
file_router = APIRouter(tags=["events"])


def add_watch(store: WatchStore, cameras: WatchCameras) -> Callable[[FastAPI], None]:
    """Return what adds the endpoints of a watch to an application (`serve.web.app.create_app`, `parts`)."""

    def add(app: FastAPI) -> None:
        app.state.watch_store = store
        app.state.watch_cameras = cameras
        app.state.watch_metrics = WatchMetrics(store, app.state.service.metrics.registry)
        # `file_router` first: its /events/stream and /events/export are no ids.
        app.include_router(file_router, dependencies=[Depends(require_any_key), Depends(check_query)])
        app.include_router(watch_router, dependencies=[Depends(require_key), Depends(check_query)])

    return add


async def require_any_key(request: Request, key: Annotated[str | None, Security(API_KEY)]) -> None:
    """Reject a request without a valid key in the header or the query."""
    check_key(request.query_params.get("key", key), service_of(request).settings.api_keys)


def _store(request: Request) -> WatchStore:
    store: WatchStore = request.app.state.watch_store
    return store


async def _query(work: Callable[..., Result], *args: Any) -> Result:
    """Run a query of the database in a thread."""
    try:
        return await asyncio.to_thread(work, *args)
    except DatabaseError as error:
        raise ServiceError("storage_unavailable", str(error), 5) from None


def _json(values: Any) -> Response:
    return Response(json.dumps(values, allow_nan=False), media_type="application/json")


@watch_router.get(
    "/events",
    summary="List events",
    responses={200: {"model": schemas.EventList}, **errors("invalid_parameter", "storage_unavailable")},
    openapi_extra={"x-codeSamples": shell(f"curl '{ADDRESS}/events?camera=yard&label=person&limit=20'")},
)
async def list_events(request: Request, query: Annotated[schemas.EventListQuery, Query()]) -> Response:
    """Return a page of events that pass all filters, the newest start first, without their boxes."""
    try:
        page = await _query(_store(request).queries.page, query.to_filter(), query.cursor, query.limit)
    except SettingsError as error:
        raise ServiceError("invalid_parameter", f"cursor: {error}") from None
    return _json({"events": page.events, "next": page.next})


@file_router.get(
    "/events/stream",
    summary="Stream of changes",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **errors("invalid_parameter", "busy", "draining", "storage_unavailable"),
    },
    openapi_extra={"x-codeSamples": shell(f"curl -N {ADDRESS}/events/stream")},
)
async def stream_events(request: Request, query: Annotated[schemas.EventStreamQuery, Query()]) -> Response:
    """Send each change of an event: id is its number, event its phase (begin, update, finish), data the event.

    Begins with the next change, or after the one of `after` or of the header Last-Event-ID, which browsers send.
    """
    service, store = service_of(request), _store(request)
    if service.admission.draining:
        raise ServiceError("draining", "the server is stopping; connect again when it is back", 5)
    if service.open_sockets >= service.settings.max_websockets:
        raise ServiceError("busy", f"{service.open_sockets} streams are open; ask again later", 10)
    last = request.headers.get("last-event-id")
    if last and not (last.isdecimal() and len(last) < 19):
        raise ServiceError("invalid_parameter", f"Last-Event-ID: {short(last)} is no number of a change")
    latest = await _query(store.queries.latest_change)
    after = int(last) if last else query.after
    if after is None or after > latest:  # of another database
        after = latest
    return ChangeResponse(service, change_stream(store, after, lambda: service.admission.draining))


@file_router.get(
    "/events/export",
    summary="Download events",
    response_class=Response,
    responses={
        200: {"content": {"application/zip": {"schema": BINARY}}},
        **errors("invalid_parameter", "not_found", "storage_unavailable"),
    },
    openapi_extra={"x-codeSamples": shell(f"curl -o events.zip '{ADDRESS}/events/export?camera=yard'")},
)
async def export_events(request: Request, query: Annotated[schemas.EventExportQuery, Query()]) -> Response:
    """Return a zip file with `events.jsonl`, the snapshots and the clips of the chosen events, at most 500."""
    store = _store(request)
    page = await _query(store.queries.page, query.to_filter(), None, MOST_EVENTS)
    if page.next is not None:
        raise ServiceError("invalid_parameter", f"more than {MOST_EVENTS} events; choose fewer by time, camera or ids")
    if not page.events:
        raise ServiceError("not_found", "no event passes the filters")

    def whole() -> list[dict[str, Any]]:
        found = [store.queries.get(event["id"]) for event in page.events]
        return [event for event in found if event is not None]

    headers = {"content-disposition": 'attachment; filename="events.zip"'}
    content = zip_of_events(store.folder, await _query(whole))
    return StreamingResponse(content, headers=headers, media_type="application/zip")


@watch_router.get(
    "/events/{id}",
    summary="Get an event",
    responses={200: {"model": schemas.EventDetail}, **errors("invalid_parameter", "not_found", "storage_unavailable")},
)
async def get_event(request: Request, id: EventId) -> Response:
    """Return an event with its boxes over time and the state of its deliveries."""
    return _json(await _event(request, id))


async def _event(request: Request, identity: str) -> dict[str, Any]:
    event = await _query(_store(request).queries.get, identity)
    if event is None:
        raise ServiceError("not_found", f"there is no event {identity}; retention may have removed it")
    return event


@file_router.head("/events/{id}/snapshot", include_in_schema=False)
@file_router.get(
    "/events/{id}/snapshot",
    summary="Get an event's snapshot",
    response_class=FileResponse,
    responses={
        200: {"content": {"image/jpeg": {"schema": BINARY}}},
        **errors("invalid_parameter", "not_found", "storage_unavailable"),
    },
)
async def get_snapshot(request: Request, id: EventId, query: Annotated[schemas.SnapshotQuery, Query()]) -> Response:
    """Return the best frame of the object as JPEG, as it is or with the object's box."""
    event = await _event(request, id)
    files = EventFiles.of(_store(request).folder, Event.from_json(event))
    return _file(event, "snapshot", files.boxed_snapshot if query.boxes else files.snapshot, "image/jpeg")


@file_router.head("/events/{id}/clip", include_in_schema=False)
@file_router.get(
    "/events/{id}/clip",
    summary="Get an event's clip",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/mp4": {"schema": BINARY}}},
        206: {"description": "The part that the header Range names."},
        416: {"description": "The clip has no such part."},
        **errors("invalid_parameter", "not_found", "storage_unavailable"),
    },
)
async def get_clip(request: Request, id: EventId, query: Annotated[schemas.EventFileQuery, Query()]) -> Response:
    """Return the MP4 with seconds before and after the event, or parts of it."""
    event = await _event(request, id)
    clip = EventFiles.of(_store(request).folder, Event.from_json(event)).clip
    return _file(event, "clip", clip, "video/mp4")


def _file(event: dict[str, Any], kind: str, path: Path, media_type: str) -> Response:
    if not path.is_file():
        reasons = {
            "dropped": "was dropped by retention",
            "missing": "is no longer in the folder",
            "stored": "is no longer in the folder",
            "none": "was not recorded" if event["phase"] == "finish" else "is not there yet",
        }
        raise ServiceError("not_found", f"the {kind} of this event {reasons[event[kind]]}")
    headers = CACHED if event["phase"] == "finish" else {"cache-control": "no-store"}
    return FileResponse(path, headers=headers, media_type=media_type)


@watch_router.get(
    "/cameras",
    summary="List the cameras",
    responses={200: {"model": schemas.CameraList}, **errors()},
)
async def list_cameras(request: Request) -> Response:
    """Return state and figures of each camera."""
    return _json({"cameras": await asyncio.to_thread(request.app.state.watch_cameras.status)})


@file_router.get(
    "/cameras/{name}/frame",
    summary="Get a camera's latest frame",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {"schema": BINARY}}}, **errors("invalid_parameter", "not_found")},
)
async def get_frame(request: Request, name: CameraName, query: Annotated[schemas.EventFileQuery, Query()]) -> Response:
    """Return the latest analyzed frame as JPEG; without motion a new one comes every few seconds."""
    image = await asyncio.to_thread(request.app.state.watch_cameras.image, name)
    if image is None:
        raise ServiceError("not_found", f"camera {short(name)} is unknown, or has no frame yet; see /cameras")
    return Response(await asyncio.to_thread(encode_jpeg, image), media_type="image/jpeg")


@watch_router.get(
    "/deliveries",
    summary="Deliveries by destination",
    responses={200: {"model": schemas.DeliveryList}, **errors("storage_unavailable")},
)
async def list_deliveries(request: Request) -> Response:
    """Return how many deliveries are pending, delivered and given up, and what is stored."""
    return _json(await _query(request.app.state.watch_metrics.values))


@watch_router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors("storage_unavailable")},
)
async def get_metrics(request: Request) -> Response:
    """Return requests, events, sizes and deliveries in Prometheus' text format."""
    await _query(request.app.state.watch_metrics.refresh)
    text, content_type = service_of(request).metrics.text()
    return Response(text, headers={"content-type": content_type})
