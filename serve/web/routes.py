"""HTTP endpoints, except the page and /ws."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response, Security
from fastapi.security import APIKeyHeader

from data.errors import PeleeError, SettingsError
from detection.inference.options import DetectionOptions, class_ids, model_options
from serve.errors import STATUS, ServiceError, short
from serve.inference.model_pool import ServedModel
from serve.inference.service import Answer, Service
from serve.inference.tiled_request import most_views, parse_tiles
from serve.observability.json_logging import log
from serve.web import schemas
from serve.web.request_body import BodyReader, wait_for_disconnect
from serve.web.security import KEY_HEADER, check_key

EXAMPLE = "data/samples/chelsea.jpg"
ADDRESS = "http://127.0.0.1:8000"
DetectQuery = Annotated[schemas.DetectQuery, Query()]
ClassifyQuery = Annotated[schemas.ClassifyQuery, Query()]
API_KEY = APIKeyHeader(
    name=KEY_HEADER,
    scheme_name="ApiKey",
    description="One of PELEE_API_KEYS; on a server without keys, none is needed.",
    auto_error=False,
)
#: Query parameters that may be given more than once.
REPEATABLE = {"classes", "camera", "label", "zone", "rule", "kind", "ids"}
MAX_PARAMETERS = 1000  # of a query; parsing that many takes a millisecond
# Open: health checks have no key.
health_router = APIRouter(tags=["health"])
# Needs an API key, if the server has any.
api_router = APIRouter(tags=["images"])


def errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI description of an endpoint's error responses."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(("unauthorized", "internal_error", *codes)):
        by_status.setdefault(STATUS[code], []).append(code)
    return {status: {"model": schemas.Error, "description": ", ".join(codes)} for status, codes in by_status.items()}


IMAGE_ERRORS = [
    code
    for code in STATUS
    if code not in ("bad_request", "forbidden", "not_found", "method_not_allowed", "reload_failed")
]  # fmt: skip


def service_of(request: Request) -> Service:
    """Return the application's `Service`."""
    return cast(Service, request.app.state.service)


def bodies_of(request: Request) -> BodyReader:
    """Return the application's `BodyReader`."""
    return cast(BodyReader, request.app.state.bodies)


async def require_key(request: Request, key: Annotated[str | None, Security(API_KEY)]) -> None:
    """Reject a request without a valid key, before its query or body is read."""
    check_key(key, service_of(request).settings.api_keys)


async def check_query(request: Request) -> None:
    """Reject too many parameters, and one that is given twice; which of the two counts would be a guess."""
    if (given := request.scope["query_string"].count(b"&") + 1) > MAX_PARAMETERS:
        raise ServiceError("invalid_parameter", f"{given} parameters, expected at most {MAX_PARAMETERS}")
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if count > 1 and name not in REPEATABLE:
            raise ServiceError("invalid_parameter", f"{short(name)} is given {count} times, expected once")


def pick_model(request: Request, name: str | None, task: str) -> ServedModel:
    """Return the model of a request; records its name for the log and the metrics."""
    model = service_of(request).models.get(name, task)
    request.state.model = model.name
    return model


def detection_options(model: ServedModel, query: schemas.DetectQuery | schemas.FrameSettings) -> DetectionOptions:
    """Options of a request or of /ws settings. Raises `ServiceError` for a class that the model does not know."""
    try:
        ids = class_ids(query.class_list, model.class_names)
    except SettingsError as error:
        raise ServiceError("invalid_parameter", f"classes: {error}") from None
    return model_options(model.card, query.conf, query.iou, query.max_detections, ids)


async def _one_image(
    request: Request, model: ServedModel, work: Callable[[bytes], Coroutine[Any, Any, Answer]], views: int = 1
) -> Response:
    """Read the single image of a request, run the work on it, and build the response; `views`: see `most_views`."""
    service, bodies = service_of(request), bodies_of(request)
    service.admission.check()
    async with bodies.read(request.receive, request.headers.get("content-length")) as body:

        async def work_on_body() -> Answer:
            (content,) = await bodies.files(request.headers.get("content-type", ""), body, 1)
            return await work(content)

        with service.admission.enter() as set_count:
            set_count(views)
            disconnect = wait_for_disconnect(request.receive)
            answer = await service.run_until_disconnect(work_on_body(), disconnect, model.name)
            set_count(answer.views)
    return _respond(answer)


@api_router.post(
    "/detect",
    summary="Detect objects in an image",
    responses={
        200: {
            "model": schemas.Detections,
            "content": {"image/jpeg": {"schema": schemas.BINARY}},
            "description": "JSON, or the annotated JPEG.",
        },
        **errors(*IMAGE_ERRORS),
    },
    openapi_extra={
        "requestBody": schemas.IMAGE_BODY,
        "x-codeSamples": schemas.shell(f"curl -F file=@{EXAMPLE} '{ADDRESS}/detect?conf=0.4'"),
    },
)
async def detect(request: Request, query: DetectQuery) -> Response:
    """Return the detections as JSON, or the annotated image for `Accept: image/jpeg`."""
    service = service_of(request)
    model = pick_model(request, query.model, "detection")
    options = detection_options(model, query)
    tiling = parse_tiles(query.tiles, service.settings.tile_limit)
    annotated = wants_jpeg(request.headers.get("accept", ""))
    work = partial(service.detect, model=model, options=options, annotated=annotated, tiling=tiling)
    return await _one_image(request, model, work, most_views(tiling))


@api_router.post(
    "/detect/batch",
    summary="Detect objects in several images",
    responses={200: {"model": schemas.BatchResult}, **errors(*IMAGE_ERRORS)},
    openapi_extra={
        "requestBody": schemas.IMAGES_BODY,
        "x-codeSamples": schemas.shell(f"curl -F file=@{EXAMPLE} -F file=@{EXAMPLE} {ADDRESS}/detect/batch"),
    },
)
async def detect_batch(request: Request, query: DetectQuery) -> Response:
    """Return a result or an error for each file, in their order."""
    service, bodies = service_of(request), bodies_of(request)
    model = pick_model(request, query.model, "detection")
    options = detection_options(model, query)
    tiling = parse_tiles(query.tiles, service.settings.tile_limit)
    service.admission.check()
    async with bodies.read(request.receive, request.headers.get("content-length")) as body:
        max_files = min(service.settings.max_files, service.settings.queue_size)

        async def detect_one(content: bytes) -> dict[str, Any]:
            try:
                return (await service.detect(content, model, options, tiling=tiling)).values
            except ServiceError as error:
                return {"error": {"code": error.code, "message": error.message}}

        async def detect_all(set_count: Callable[[int], None]) -> list[dict[str, Any]]:
            contents = await bodies.files(request.headers.get("content-type", ""), body, max_files)
            set_count(len(contents) * most_views(tiling))
            return await asyncio.gather(*map(detect_one, contents))

        with service.admission.enter() as set_count:
            disconnect = wait_for_disconnect(request.receive)
            results = await service.run_until_disconnect(detect_all(set_count), disconnect, model.name)
    return Response(json.dumps({"results": results}), media_type="application/json")


@api_router.post(
    "/classify",
    summary="Classify an image",
    responses={200: {"model": schemas.Classes}, **errors(*IMAGE_ERRORS)},
    openapi_extra={
        "requestBody": schemas.IMAGE_BODY,
        "x-codeSamples": schemas.shell(f"curl --data-binary @{EXAMPLE} '{ADDRESS}/classify?top=3'"),
    },
)
async def classify(request: Request, query: ClassifyQuery) -> Response:
    """Return the most probable classes as JSON."""
    service = service_of(request)
    model = pick_model(request, query.model, "classification")
    return await _one_image(request, model, lambda content: service.classify(content, model, query.top))


@api_router.head("/models", include_in_schema=False)
@api_router.get(
    "/models",
    summary="List the models of this server",
    responses={200: {"model": schemas.ModelList}, **errors()},
    openapi_extra={"x-codeSamples": schemas.shell(f"curl {ADDRESS}/models")},
)
async def models(request: Request) -> Response:
    """Return names, tasks and class names, and which model is a task's default."""
    return Response(json.dumps(service_of(request).models.describe()), media_type="application/json")


@api_router.post(
    "/models/{name}/reload",
    summary="Reload a model's files",
    responses={
        200: {"model": schemas.ModelInfo},
        **errors("forbidden", "unknown_model", "invalid_parameter", "reload_failed"),
    },
)
async def reload(request: Request, name: str) -> Response:
    """Reload the model's files without dropping a request; only on a server with API keys."""
    service = service_of(request)
    if not service.settings.api_keys:
        raise ServiceError("forbidden", "only a server with API keys reloads on request; send the process SIGHUP")
    await reload_model(service, name)
    info = next(model for model in service.models.describe()["models"] if model["name"] == name)
    return Response(json.dumps(info), media_type="application/json")


@api_router.head("/metrics", include_in_schema=False)
@api_router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
)
async def metrics(request: Request) -> Response:
    """Return requests, latencies by stage, queue depth, batch sizes and rejections in Prometheus' text format."""
    text, content_type = service_of(request).metrics.text()
    return Response(text, headers={"content-type": content_type})


@health_router.head("/healthz", include_in_schema=False)
@health_router.get("/healthz", summary="Liveness", responses={200: {"model": schemas.State}})
async def healthz() -> Response:
    """Return 200 as long as the process runs."""
    return Response('{"status": "ok"}', media_type="application/json")


@health_router.head("/readyz", include_in_schema=False)
@health_router.get(
    "/readyz",
    summary="Readiness",
    responses={200: {"model": schemas.State}, 503: {"model": schemas.Error, "description": "not_ready, draining"}},
)
async def readyz(request: Request) -> Response:
    """Return 200 once the models are loaded and warm, until the server is told to stop."""
    service = service_of(request)
    if not service.ready:
        if service.admission.draining:
            raise ServiceError("draining", "the server is stopping", 5)
        raise ServiceError("not_ready", "models are being loaded, or the inference thread is being restarted", 1)
    return Response('{"status": "ready"}', media_type="application/json")


async def reload_model(service: Service, name: str) -> None:
    """Reload a model in a thread. Raises `ServiceError`, after which the old model continues to serve."""
    try:
        model = await service.reload(name)
    except ServiceError:
        raise
    except Exception as error:
        service.metrics.reloads.labels(name, "failed").inc()
        log(logging.ERROR, "reload failed", error, model=name)
        reason = str(error) if isinstance(error, PeleeError) else "the log has more"
        raise ServiceError("reload_failed", f"{name} stays as it was: {reason}") from None
    service.metrics.reloads.labels(name, "done").inc()
    log(logging.INFO, "reloaded", model=name, runtime=model.session.name, sha256=model.card.sha256[:12])


def wants_jpeg(accept: str) -> bool:
    """Whether an Accept header prefers image/jpeg to JSON; JSON wins a tie."""
    quality = {"image/jpeg": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        kind, *parameters = (item.strip() for item in part.split(";"))
        weight = next((item[2:] for item in parameters if item.startswith("q=")), "1")
        try:
            value = float(weight)
        except ValueError:
            continue
        for known in quality:
            if kind in (known, known.split("/")[0] + "/*", "*/*"):
                quality[known] = max(quality[known], value)
    return quality["image/jpeg"] > quality["application/json"]


def _respond(answer: Answer) -> Response:
    timing = ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in answer.timings.items())
    headers = {"server-timing": timing}
    if answer.jpeg is not None:
        return Response(answer.jpeg, headers=headers, media_type="image/jpeg")
    return Response(json.dumps(answer.values, allow_nan=False), headers=headers, media_type="application/json")
