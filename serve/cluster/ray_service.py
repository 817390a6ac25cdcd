"""Service behind Ray Serve: replicas of the application, scaled by their queue, replaced one by one on SIGHUP."""

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from data.errors import PeleeError, SettingsError
from detection.batch.ray_run import PoolOptions, ray_session
from serve.inference.model_pool import find_models
from serve.observability.json_logging import set_up_logging
from serve.settings import ServeSettings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

    from serve.web.middleware import App, Message, Receive, Scope, Send

NAME = "pelee"
UPSCALE_DELAY_S = 5.0  # of a longer queue, before a replica is added
DOWNSCALE_DELAY_S = 60.0  # of a shorter one, before a replica is removed


class ClusterError(PeleeError):
    """A service that Ray could not start."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Replicas of the service.

    Attributes:
        least, most: number of replicas; between them it follows the queue.
        queue: requests in progress per replica that the number of replicas aims at.
        cores: CPUs of a replica.
        gpu_share: GPUs of a replica, which may be a fraction.
        address: address of a Ray cluster, or "auto"; None for Ray on this machine alone.
    """

    least: int = 1
    most: int = 1
    queue: float = 4.0
    cores: int = 1
    gpu_share: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        """Raise `SettingsError` for numbers that contradict each other."""
        if not 1 <= self.least <= self.most:
            raise SettingsError(f"{self.least} to {self.most} replicas; expected 1 or more, and the smaller one first")
        if self.queue <= 0 or self.cores < 1 or self.gpu_share < 0:
            raise SettingsError("the queue and the cores of a replica are positive, its share of a GPU is not negative")


def replica_app(settings: ServeSettings) -> "FastAPI":
    """Build the application of a replica, in its process."""
    import cv2

    from serve.web.app import create_app

    cv2.setNumThreads(1)  # networks and decoders use the cores; OpenCV's calls are too short to split
    set_up_logging(settings.log_level)
    return create_app(settings, wait_for_models=True)


def build(
    settings: ServeSettings, scale: Scale, create: Callable[[ServeSettings], "FastAPI"] = replica_app
) -> "Application":
    """Return the application for `ray.serve.run`; each call is a new version, whose replicas replace earlier ones.

    A replica takes requests once its models are loaded and warm. It refuses those above its `queue_size` with 429, as
    the service of one process does; Ray refuses those for which no replica has room with 503.

    Args:
        settings: settings of each replica; host, port and limits of connections do not apply.
        scale: number and size of the replicas.
        create: returns the application, in the process of a replica.
    """
    from ray import serve

    own = replace(settings, decode_threads=settings.decode_threads or scale.cores)

    def build_app() -> "FastAPI":
        app = create(own)
        app.add_middleware(WithoutRequestId)
        return app

    deployment: Any = serve.deployment(
        serve.ingress(build_app)(),
        name=NAME,
        ray_actor_options={"num_cpus": scale.cores, "num_gpus": scale.gpu_share},
        autoscaling_config={
            "min_replicas": scale.least,
            "max_replicas": scale.most,
            "target_ongoing_requests": scale.queue,
            "upscale_delay_s": UPSCALE_DELAY_S,
            "downscale_delay_s": DOWNSCALE_DELAY_S,
        },
        # More than the service's own queue, so that its 429 with Retry-After is what clients get.
        max_ongoing_requests=2 * settings.queue_size + settings.max_websockets,
        max_queued_requests=settings.queue_size,
        graceful_shutdown_timeout_s=settings.grace_s,
    )
    bound: Application = deployment.bind()
    return bound


def application(arguments: dict[str, str]) -> "Application":
    """Return the application for `serve run serve.cluster.ray_service:application` and for KubeRay's manifests.

    Args:
        arguments: fields of `Scale`; all other settings come from the environment, PELEE_....

    Raises:
        SettingsError: an unknown argument or a value out of range.
    """
    types: dict[str, Any] = {"least": int, "most": int, "queue": float, "cores": int, "gpu_share": float}
    try:
        scale = Scale(**{name: types[name](value) for name, value in arguments.items()})
    except KeyError as error:
        raise SettingsError(f"unknown argument {error.args[0]!r}; expected {', '.join(types)}") from None
    except ValueError as error:
        raise SettingsError(f"an argument is no number: {error}") from None
    return build(load_settings(), scale)


class WithoutRequestId:
    """ASGI middleware that drops the header X-Request-ID of responses: Ray's proxy adds it with the same id."""

    def __init__(self, app: "App") -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle a request."""

        async def without(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, without)


def serve_on_ray(
    settings: ServeSettings, scale: Scale, create: Callable[[ServeSettings], "FastAPI"] = replica_app
) -> int:
    """Serve until SIGTERM or ctrl-C; SIGHUP replaces the replicas by new ones, without a gap. Return exit code 0.

    Args:
        settings, scale, create: as for `build`.

    Raises:
        PeleeError: a model that is missing, a port in use, Ray does not start, ...
    """
    from serve.web.server import bind

    find_models(settings)
    with bind(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
    pool = PoolOptions(workers=scale.most, gpu_share=scale.gpu_share, address=scale.address)
    events: list[int] = []
    woken = threading.Event()

    def handle(number: int, _: object) -> None:
        events.append(number)
        woken.set()

    with ray_session(pool, scale.cores):
        from ray import serve

        quiet = {"log_level": "WARNING", "enable_access_log": False}
        logging.getLogger("ray").setLevel(logging.WARNING)
        http = {"host": host, "port": port, "root_path": settings.root_path}
        serve.start(proxy_location="HeadOnly", http_options=http, logging_config=quiet)
        try:
            _run(settings, scale, create)
            for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
                signal.signal(number, handle)
            print(
                f"Pelee serves {', '.join(settings.models)} at http://{host}:{port} on Ray. ctrl-C ends it.", flush=True
            )
            while True:
                woken.wait()
                woken.clear()
                if any(number != getattr(signal, "SIGHUP", None) for number in events):
                    return 0
                events.clear()
                _run(settings, scale, create)
        finally:
            serve.shutdown()


def _run(settings: ServeSettings, scale: Scale, create: Callable[[ServeSettings], "FastAPI"]) -> None:
    from ray import serve

    try:
        serve.run(build(settings, scale, create), name=NAME, route_prefix="/")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(f"the replicas do not start: {reason}") from None
