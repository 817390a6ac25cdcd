"""FastAPI application: endpoints, middleware, error handlers, startup and shutdown."""

import asyncio
import importlib.metadata
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from serve.errors import CODES, ServiceError, short
from serve.inference.model_pool import ModelSource, find_models
from serve.inference.service import Service
from serve.observability.json_logging import log
from serve.settings import ServeSettings
from serve.web.middleware import RequestMiddleware
from serve.web.page import add_page
from serve.web.request_body import BodyReader
from serve.web.routes import api_router, check_query, health_router, require_key
from serve.web.security import allowed_hosts
from serve.web.websocket import add_websocket

Part = Callable[[FastAPI], None]
DESCRIPTION = "POST an image, get boxes. The live page is at /, frames go to /ws."


def add_images(app: FastAPI) -> None:
    """Add the endpoints of images, /ws and the live page to an application."""
    app.include_router(api_router, dependencies=[Depends(require_key), Depends(check_query)])
    add_websocket(app)
    add_page(app)


def create_app(
    settings: ServeSettings,
    sources: Mapping[str, ModelSource] | None = None,
    parts: Sequence[Part] = (add_images,),
    description: str = DESCRIPTION,
    wait_for_models: bool = False,
) -> FastAPI:
    """Build the application. Its endpoints share `app.state.service` and `app.state.bodies`.

    Models are loaded in a thread at startup: /healthz answers at once, /readyz once they are warm. If one cannot be
    loaded, `app.state.failure` is the error, and the application never becomes ready.

    Args:
        settings: all settings.
        sources: the models by name; None for those of the settings.
        parts: what adds endpoints beside health and errors.
        description: of the API.
        wait_for_models: finish the startup only when all models are warm, and fail it with the error of loading them.

    Raises:
        WeightsError: there is no such model.
        SettingsError: two models have one name.
    """
    service = Service(settings, find_models(settings) if sources is None else sources)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(_load(app, service))
        try:
            if wait_for_models:
                await loading
                if app.state.failure is not None:
                    raise app.state.failure
            yield
        finally:
            loading.cancel()
            service.close()

    app = FastAPI(
        title="Pelee",
        description=description,
        version=importlib.metadata.version("pelee"),
        lifespan=lifespan,
        redirect_slashes=False,  # see RequestMiddleware
        # FastAPI's documentation pages load scripts from other servers.
        docs_url=None,
        redoc_url=None,
        # No telemetry, whatever OTEL_ variables are set.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = service
    app.state.failure = None
    app.state.bodies = BodyReader(
        settings.max_body, settings.max_buffered, settings.body_timeout_s, executor=service.decoders.pool
    )
    app.include_router(health_router)
    for part in parts:
        part(app)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["X-API-Key", "X-Request-ID", "Range", "Last-Event-ID"],
            expose_headers=["X-Request-ID", "Retry-After", "Server-Timing"],
        )
    app.add_middleware(
        RequestMiddleware,
        metrics=service.metrics,
        draining=lambda: service.admission.draining,
        hosts=allowed_hosts(settings),
        root_path=settings.root_path,
    )
    return app


async def _load(app: FastAPI, service: Service) -> None:
    try:
        await service.load()
    except Exception as error:
        app.state.failure = error
    else:
        names = {name: service.models.get(name, task).session.name for name, task in _tasks(service)}
        if names:
            log(logging.INFO, "ready", models=names)


def _tasks(service: Service) -> list[tuple[str, str]]:
    return [(model["name"], model["task"]) for model in service.models.describe()["models"]]


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request.app.state.service.count_error(error, getattr(request.state, "model", ""))
    content = error.content(request.state.request_id)
    return Response(content, error.status, error.headers(), media_type="application/json")


async def _invalid(request: Request, error: Exception) -> Response:
    """Response to an invalid query; the message does not repeat the value."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first["loc"] else "request"
    if first["type"] == "extra_forbidden":
        message = f"unknown parameter {short(name)}; expected {', '.join(_parameters(request))}"
    else:
        message = f"{name}: {first['msg']}"
    return await _service_error(request, ServiceError("invalid_parameter", message))


def _parameters(request: Request) -> list[str]:
    """Names of the query parameters of a request's endpoint."""
    found: list[str] = []
    for parameter in request.scope["route"].dependant.query_params:
        model = parameter.field_info.annotation
        found += getattr(model, "model_fields", {parameter.alias: None})
    return found


async def _http_error(request: Request, error: Exception) -> Response:
    """Response to errors that Starlette raises itself: unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "internal_error")
    response = await _service_error(request, ServiceError(code, f"{error.detail}; see /openapi.json"))
    response.headers.update(error.headers or {})
    return response
