"""The application: the endpoints, what is around them, and what starts and ends with it."""

import asyncio
import importlib.metadata
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from serve.errors import CODES, ServiceError
from serve.inference.model_pool import Source, find_models
from serve.inference.service import Service
from serve.observability.json_logging import log
from serve.settings import ServeSettings
from serve.web import routes as api
from serve.web.middleware import Envelope
from serve.web.page import add_page
from serve.web.websocket import add_websocket


def create_app(settings: ServeSettings, sources: Mapping[str, Source] | None = None) -> FastAPI:
    """The application for some settings; `app.state.service` is what its endpoints share.

    Models are loaded in a thread when it starts: /healthz answers from then on, /readyz once they are warm. Where one
    cannot be loaded, `app.state.failure` is the error, and the application never becomes ready.

    Args:
        settings: all of them.
        sources: the models by name; None for those of the settings.

    Raises:
        WeightsError: there is no such model.
        SettingsError: two models of one name.
    """
    service = Service(settings, find_models(settings) if sources is None else sources)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(_load(app, service))
        try:
            yield
        finally:
            loading.cancel()
            service.close()

    app = FastAPI(
        title="Pelee",
        description="POST a photo, get boxes. The live page is at /, frames go to /ws.",
        version=importlib.metadata.version("pelee"),
        lifespan=lifespan,
        # The pages for these load scripts from other servers.
        docs_url=None,
        redoc_url=None,
        # Nothing is reported anywhere, whatever OTEL_ variables the machine has.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = service
    app.state.failure = None
    app.include_router(api.health)
    app.include_router(api.api, dependencies=[Depends(api.require_key)])
    add_websocket(app)
    add_page(app)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After", "Server-Timing"],
        )
    app.add_middleware(Envelope, metrics=service.metrics)
    return app


async def _load(app: FastAPI, service: Service) -> None:
    try:
        await service.load()
    except Exception as error:
        app.state.failure = error
    else:
        names = {name: service.models.get(name, task).session.name for name, task in _tasks(service)}
        log(logging.INFO, "ready", models=names)


def _tasks(service: Service) -> list[tuple[str, str]]:
    return [(model["name"], model["task"]) for model in service.models.describe()["models"]]


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request.app.state.service.note(error, getattr(request.state, "model", ""))
    content = error.content(request.state.request_id)
    return Response(content, error.status, error.headers(), media_type="application/json")


async def _invalid(request: Request, error: Exception) -> Response:
    """A query that does not fit; the value that was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first["loc"] else "request"
    return await _service_error(request, ServiceError("invalid_parameter", f"{name}: {first['msg']}"))


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, another method."""
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "internal_error")
    response = await _service_error(request, ServiceError(code, f"{error.detail}; see /openapi.json"))
    response.headers.update(error.headers or {})
    return response
