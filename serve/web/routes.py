"""The endpoints, but for the page and /ws."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response

from data.errors import PeleeError, SettingsError
from detection.inference.nms import IOU, KEEP
from detection.inference.options import Search, class_ids
from serve.errors import STATUS, ServiceError
from serve.inference.model_pool import ServedModel
from serve.inference.service import Answer, Service, until_disconnect
from serve.observability.json_logging import log
from serve.web import schemas
from serve.web.security import KEY_HEADER, check_key

EXAMPLE = "data/samples/chelsea.jpg"
ADDRESS = "http://127.0.0.1:8000"
Model = Annotated[
    str | None, Query(description="One of GET /models; the task's default where it is not given.", max_length=200)
]
Confidence = Annotated[
    float | None,
    Query(
        description="Only what scores above it; the model's own default where it is not given.",
        ge=0,
        le=1,
        allow_inf_nan=False,
        examples=[0.4],
    ),
]
Overlap = Annotated[
    float,
    Query(description="Boxes of a class that overlap more are one.", ge=0, le=1, allow_inf_nan=False, examples=[0.45]),
]
Classes = Annotated[
    str | None,
    Query(description="Look only for these: names or ids, with commas between.", max_length=2000, examples=["dog,cat"]),
]
Most = Annotated[int, Query(description="Most objects a picture, the best.", ge=1, le=KEEP, examples=[50])]
Top = Annotated[int, Query(description="Most classes, the most probable.", ge=1, le=1000, examples=[3])]
# Without keys: whoever looks after the process asks these, and has none.
health = APIRouter(tags=["health"])
# Behind the keys, where there are any.
api = APIRouter(tags=["pictures"])


def errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The description of an endpoint's errors."""
    by_status: dict[int, list[str]] = {}
    for code in ("unauthorized", "internal_error", *codes):
        by_status.setdefault(STATUS[code], []).append(code)
    return {status: {"model": schemas.Error, "description": ", ".join(codes)} for status, codes in by_status.items()}


PICTURE_ERRORS = [
    code
    for code in STATUS
    if code not in ("bad_request", "forbidden", "not_found", "method_not_allowed", "reload_failed")
]  # fmt: skip


def service_of(request: Request) -> Service:
    """The application's service."""
    return cast(Service, request.app.state.service)


async def require_key(request: Request) -> None:
    """Refuse who has no key, before anything of the request is read or judged."""
    check_key(request.headers.get(KEY_HEADER), service_of(request).settings.api_keys)


def pick_model(request: Request, name: str | None, task: str) -> ServedModel:
    """The model that a request names; its name goes to the log and the metrics."""
    model = service_of(request).models.get(name, task)
    request.state.model = model.name
    return model


def make_search(
    model: ServedModel, conf: float | None, iou: float, classes: Sequence[str] | None, max_detections: int = KEEP
) -> Search:
    """What to look for. Raises `ServiceError` on a class that the model does not know."""
    try:
        ids = class_ids(classes, model.class_names)
    except SettingsError as error:
        raise ServiceError("invalid_parameter", f"classes: {error}") from None
    confidence = model.card.default_confidence if conf is None else conf
    return Search(confidence, iou, max_detections, ids)


def split_classes(text: str | None) -> list[str] | None:
    """`a,b` -> ["a", "b"]; None for nothing."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    return names or None


async def _one_picture(
    request: Request, model: ServedModel, work: Callable[[bytes], Coroutine[Any, Any, Answer]]
) -> Response:
    """Read the one picture of a request, and answer with what the work makes of it."""
    service = service_of(request)
    service.admission.check()
    async with service.bodies.read(request.receive, request.headers.get("content-length")) as body:
        (content,) = await service.files(request.headers.get("content-type", ""), body, 1)
        with service.admission.enter():
            answer = await service.while_wanted(work(content), until_disconnect(request.receive), model.name)
    return _respond(answer)


@api.post(
    "/detect",
    summary="Find what is in a picture",
    responses={
        200: {
            "model": schemas.Detections,
            "content": {"image/jpeg": {}},
            "description": "JSON, or the annotated JPEG.",
        },
        **errors(*PICTURE_ERRORS),
    },
    openapi_extra={
        "requestBody": schemas.PICTURE_BODY,
        "x-codeSamples": schemas.shell(f"curl -F file=@{EXAMPLE} '{ADDRESS}/detect?conf=0.4'"),
    },
)
async def detect(
    request: Request,
    model: Model = None,
    conf: Confidence = None,
    iou: Overlap = IOU,
    classes: Classes = None,
    max_detections: Most = KEEP,
) -> Response:
    """Return what was found as JSON, or the annotated picture for `Accept: image/jpeg`."""
    service = service_of(request)
    network = pick_model(request, model, "detection")
    search = make_search(network, conf, iou, split_classes(classes), max_detections)
    annotated = wants_jpeg(request.headers.get("accept", ""))
    return await _one_picture(request, network, lambda content: service.detect(content, network, search, annotated))


@api.post(
    "/detect/batch",
    summary="Find what is in several pictures",
    responses={200: {"model": schemas.Batch}, **errors(*PICTURE_ERRORS)},
    openapi_extra={
        "requestBody": schemas.PICTURES_BODY,
        "x-codeSamples": schemas.shell(f"curl -F file=@{EXAMPLE} -F file=@{EXAMPLE} {ADDRESS}/detect/batch"),
    },
)
async def detect_batch(
    request: Request,
    model: Model = None,
    conf: Confidence = None,
    iou: Overlap = IOU,
    classes: Classes = None,
    max_detections: Most = KEEP,
) -> Response:
    """Return a result or an error for each file, in their order."""
    service = service_of(request)
    network = pick_model(request, model, "detection")
    search = make_search(network, conf, iou, split_classes(classes), max_detections)
    service.admission.check()
    async with service.bodies.read(request.receive, request.headers.get("content-length")) as body:
        most = min(service.settings.max_files, service.settings.queue_size)
        contents = await service.files(request.headers.get("content-type", ""), body, most)

        async def one(content: bytes) -> dict[str, Any]:
            try:
                return (await service.detect(content, network, search)).values
            except ServiceError as error:
                return {"error": {"code": error.code, "message": error.message}}

        async def every() -> list[dict[str, Any]]:
            return await asyncio.gather(*map(one, contents))

        with service.admission.enter(len(contents)):
            results = await service.while_wanted(every(), until_disconnect(request.receive), network.name)
    return Response(json.dumps({"results": results}), media_type="application/json")


@api.post(
    "/classify",
    summary="Say what a picture shows",
    responses={200: {"model": schemas.Classes}, **errors(*PICTURE_ERRORS)},
    openapi_extra={
        "requestBody": schemas.PICTURE_BODY,
        "x-codeSamples": schemas.shell(f"curl --data-binary @{EXAMPLE} '{ADDRESS}/classify?top=3'"),
    },
)
async def classify(request: Request, model: Model = None, top: Top = 5) -> Response:
    """Return the most probable classes as JSON."""
    service = service_of(request)
    network = pick_model(request, model, "classification")
    return await _one_picture(request, network, lambda content: service.classify(content, network, top))


@api.get(
    "/models",
    summary="The models of this server",
    responses={200: {"model": schemas.ModelList}, **errors()},
    openapi_extra={"x-codeSamples": schemas.shell(f"curl {ADDRESS}/models")},
)
async def models(request: Request) -> Response:
    """Return names, tasks and class names, and which model is a task's default."""
    return Response(json.dumps(service_of(request).models.describe()), media_type="application/json")


@api.post(
    "/models/{name}/reload",
    summary="Load a model's file again",
    responses={
        200: {"model": schemas.ModelInfo},
        **errors("forbidden", "unknown_model", "invalid_parameter", "reload_failed"),
    },
)
async def reload(request: Request, name: str) -> Response:
    """Put what the model's file is now in its place, without dropping a request; needs a server with API keys."""
    service = service_of(request)
    if not service.settings.api_keys:
        raise ServiceError("forbidden", "only a server with API keys reloads on request; send the process SIGHUP")
    await reload_model(service, name)
    info = next(model for model in service.models.describe()["models"] if model["name"] == name)
    return Response(json.dumps(info), media_type="application/json")


@api.get("/metrics", summary="Counters for Prometheus", response_class=Response, responses=errors())
async def metrics(request: Request) -> Response:
    """Return requests, latencies by stage, queue depth, batch sizes and refusals in Prometheus' text format."""
    text, content_type = service_of(request).metrics.text()
    return Response(text, headers={"content-type": content_type})


@health.get("/healthz", summary="Whether the process answers", responses={200: {"model": schemas.State}})
async def healthz() -> Response:
    """Return 200 as long as the process lives."""
    return Response('{"status": "ok"}', media_type="application/json")


@health.get(
    "/readyz",
    summary="Whether it would answer a request",
    responses={200: {"model": schemas.State}, 503: {"model": schemas.Error, "description": "not_ready, draining"}},
)
async def readyz(request: Request) -> Response:
    """Return 200 once the models are loaded and warm, and until the server is told to stop."""
    service = service_of(request)
    if not service.ready:
        if service.admission.draining:
            raise ServiceError("draining", "the server is stopping", 5)
        raise ServiceError("not_ready", "models are being loaded, or the inference thread is started again", 1)
    return Response('{"status": "ready"}', media_type="application/json")


async def reload_model(service: Service, name: str) -> None:
    """Reload a model in a thread. Raises `ServiceError`; the old one goes on serving then."""
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
    """Whether an Accept header puts image/jpeg before JSON, which is also the answer where it leaves the choice."""
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
