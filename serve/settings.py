"""Settings of the service, from environment variables (PELEE_...) and the flags of `pelee-serve`.

A plain dataclass, so that `pelee-serve --help` imports no pydantic; `load_settings` validates with it.
"""

import ipaddress
import os
import re
from collections import ChainMap
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from data.errors import SettingsError, did_you_mean
from pelee.runtime.backends import BACKENDS
from pelee.runtime.session import Mode, Precision
from pelee.training.choices import KeyOf

ENVIRONMENT_PREFIX = "PELEE_"
LISTS = ("models", "api_keys", "cors_origins", "allowed_hosts", "trusted_proxies")
DECODING_MB = 200.0  # memory of a decoding thread: a JPEG or PNG of 25 megapixels takes 191
KEY_LENGTH = 16  # minimum number of characters of an API key
# Kubernetes sets these in every container of a namespace that has a service called pelee or pelee-...
KUBERNETES_NAME = re.compile(r"SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP|SCTP)")
KUBERNETES_VALUE = re.compile(r"(tcp|udp|sctp)://")
HOST_NAME = re.compile(r"\*|[a-z0-9._-]+|\[?[0-9a-f:.]+\]?")
ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


class Bounds:
    """Constraint of a field as pydantic-core names it: gt, ge, le, min_length."""

    def __init__(self, **limits: float) -> None:
        """Set the limits."""
        self.limits = limits

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return the type's schema with the limits."""
        return handler(source) | self.limits


Seconds = Annotated[float, Bounds(gt=0, le=3600)]


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of the service.

    Each is a flag of `pelee-serve` and an environment variable: its name in capitals after PELEE_, lists separated by
    commas. Flags win. API keys come from the environment only, because flags are visible in the process list.

    Attributes:
        host: address to listen on; 127.0.0.1 is reachable from this machine only
        port: TCP port; 0 picks a free one
        models: shipped names, folders or files; the first of a task is its default
        runtime: runtime of the networks; auto: the fastest installed
        device: cpu, cuda, ...; auto: the best available
        precision: precision of the networks; auto: the fastest that the model and the runtime have
        mode: latency gives one image all cores, throughput shares them; auto opens a model for both where they differ
        api_keys: keys of which every request except the page and health needs one, 16 characters or more
        cors_origins: origins of other pages that may use the service from a browser, such as https://example.org; * for
            any
        allowed_hosts: domains of the service behind a reverse proxy, such as pelee.example.org; * for any. Without
            keys, requests to a loopback address under another domain than these get 403
        trusted_proxies: addresses or networks of reverse proxies, such as 127.0.0.1, whose X-Forwarded-For and
            X-Forwarded-Proto are used
        root_path: path below which a reverse proxy publishes the service, such as /pelee
        max_body_mb: maximum size of a request body, MB (10^6 bytes)
        max_megapixels: maximum size of an image, 10^6 pixels, checked from its header
        max_files: maximum number of files in one POST /detect/batch
        max_buffered_mb: maximum size of all request bodies in memory, MB
        max_decoding_mb: maximum memory of the images that are being decoded, MB; further ones wait (default: 200 for
            each decoding thread)
        queue_size: maximum number of images in progress; further ones get 429. A tile counts as an image
        max_tiles: maximum number of tiles of an image (?tiles=)
        batch_size: maximum number of images in a batch (default: 1 in openvino, where a batch is no faster, else 8)
        batch_wait_ms: maximum time a batch waits for images that are being decoded, ms
        decode_threads: number of decoding threads (default: one a core)
        deadline_s: maximum time from the last byte of a request to its response, s; later requests are dropped
        body_timeout_s: maximum time from the header of a request to its last byte, s
        header_timeout_s: maximum time for a complete header, for the client to read a response, and between two
            requests of a connection, s
        grace_s: maximum time for running requests to finish at shutdown, s
        max_connections: maximum number of open connections; fewer where the process may open fewer files (ulimit -n)
        max_websockets: maximum number of open WebSockets
        log_level: level of the JSON log on stderr
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    host: str = "127.0.0.1"
    port: Annotated[int, Bounds(ge=0, le=65535)] = 8000
    models: Annotated[tuple[str, ...], Bounds(min_length=1)] = ("pelee-voc", "peleenet-tiny-imagenet")
    runtime: Annotated[str, KeyOf(ChainMap[str, Any](BACKENDS, {"auto": None}))] = "auto"
    device: str = "auto"
    precision: Precision = "auto"
    mode: Mode | Literal["auto"] = "auto"
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    root_path: str = ""
    max_body_mb: Annotated[float, Bounds(gt=0, le=1000)] = 10.0
    max_megapixels: Annotated[float, Bounds(gt=0, le=89)] = 25.0
    max_files: Annotated[int, Bounds(ge=1, le=100)] = 16
    max_buffered_mb: Annotated[float, Bounds(gt=0)] = 256.0
    max_decoding_mb: Annotated[float, Bounds(gt=0)] | None = None
    queue_size: Annotated[int, Bounds(ge=1, le=10_000)] = 64
    max_tiles: Annotated[int, Bounds(ge=0, le=1000)] = 32
    batch_size: Annotated[int, Bounds(ge=1, le=256)] | None = None
    batch_wait_ms: Annotated[float, Bounds(ge=0, le=1000)] = 1.0
    decode_threads: Annotated[int, Bounds(ge=1, le=256)] | None = None
    deadline_s: Seconds = 3.0
    body_timeout_s: Seconds = 20.0
    header_timeout_s: Seconds = 10.0
    grace_s: Seconds = 10.0
    max_connections: Annotated[int, Bounds(ge=1)] = 2000
    max_websockets: Annotated[int, Bounds(ge=0)] = 32
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def max_body(self) -> int:
        """Maximum size of a request body, bytes."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_buffered(self) -> int:
        """Maximum size of all request bodies in memory, bytes."""
        return int(self.max_buffered_mb * 1e6)

    @property
    def max_frame(self) -> int:
        """Maximum size of a message of /ws, bytes.

        All sockets together, each with one message in progress and one read ahead, hold at most `max_buffered`.
        """
        return min(self.max_body, self.max_buffered // max(2 * self.max_websockets, 1))

    @property
    def tile_limit(self) -> int:
        """Maximum number of tiles of an image: with the whole image they have room in the queue."""
        return min(self.max_tiles, self.queue_size - 1)

    @property
    def max_pixels(self) -> int:
        """Maximum size of an image, pixels."""
        return int(self.max_megapixels * 1e6)

    @property
    def max_decoding(self) -> int:
        """Maximum memory of the images that are being decoded, bytes; an image that needs more is decoded alone."""
        return int(1e6 * (self.max_decoding_mb or DECODING_MB * self.decoders))

    @property
    def decoders(self) -> int:
        """Number of decoding threads."""
        return self.decode_threads or os.cpu_count() or 1

    def redacted(self) -> dict[str, Any]:
        """All settings as plain values, without secrets: of the API keys only their number."""
        return asdict(self) | {"api_keys": len(self.api_keys)}


def load_settings(**flags: Any) -> ServeSettings:
    """Read the settings from the environment, overridden by `flags`. Raises `SettingsError`: one line, no secret."""
    from pydantic import TypeAdapter, ValidationError

    try:
        settings = TypeAdapter(ServeSettings).validate_python(_environment() | flags)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        raise SettingsError(f"{_origin(name, flags)}: {first['msg']}") from None
    for name, problem in setting_problems(settings):
        raise SettingsError(f"{_origin(name, flags)}: {problem}")
    return settings


def setting_problems(settings: ServeSettings) -> list[tuple[str, str]]:
    """Name and problem of every setting whose text is malformed."""
    found = []
    if any(len(key) < KEY_LENGTH for key in settings.api_keys):
        problem = f"a key is shorter than {KEY_LENGTH} characters; make one with: openssl rand -hex 16"
        found.append(("api_keys", problem))
    for host in settings.allowed_hosts:
        if not HOST_NAME.fullmatch(host.lower()):
            found.append(
                ("allowed_hosts", f"{host!r} is no host name; expected one without scheme, port and path, or *")
            )
    for address in settings.trusted_proxies:
        try:
            ipaddress.ip_network(address)
        except ValueError:
            problem = f"{address!r} is neither an IP address nor a network such as 10.0.0.0/8"
            found.append(("trusted_proxies", problem))
    if not ROOT_PATH.fullmatch(settings.root_path):
        found.append(("root_path", f"{settings.root_path!r} is no path such as /pelee, without a slash at the end"))
    return found


def _environment() -> dict[str, Any]:
    """Values of the variables that are set and not empty; lists are split at commas.

    Raises:
        SettingsError: a variable with the prefix that is no setting; API keys that are set and empty.
    """
    from weights.model_folders import FOLDER_VARIABLE

    values: dict[str, Any] = {}
    known = {f"{ENVIRONMENT_PREFIX}{one.name.upper()}": one.name for one in fields(ServeSettings)}
    for variable, text in os.environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or _of_kubernetes(variable, text):
            continue
        if variable == FOLDER_VARIABLE:
            continue
        if (name := known.get(variable)) is None:
            hint = did_you_mean(variable, known) or "pelee-serve --help lists all settings"
            raise SettingsError(f"the environment has an unknown variable {variable}; {hint}")
        value = [part.strip() for part in text.split(",") if part.strip()] if name in LISTS else text
        if name == "api_keys" and not value:
            # A failed command substitution must not open the service to everybody.
            raise SettingsError(f"{variable}: the variable is set and holds no key; give a key, or unset the variable")
        if text:
            values[name] = value
    return values


def _of_kubernetes(variable: str, text: str) -> bool:
    return bool(KUBERNETES_NAME.search(variable) or KUBERNETES_VALUE.match(text))


def _origin(name: str, flags: dict[str, Any]) -> str:
    """Flag or environment variable that gave a setting."""
    if name not in flags:
        return f"{ENVIRONMENT_PREFIX}{name.upper()}"
    return "--model" if name == "models" else f"--{name.replace('_', '-')}"
