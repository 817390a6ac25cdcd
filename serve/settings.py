"""Settings of the service, from environment variables (PELEE_...) and the flags of `pelee-serve`."""

import os
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from data.errors import SettingsError
from pelee.runtime.session import Mode, Precision, RuntimeName


def _split(value: Any) -> Any:
    """`a,b` from the environment -> ["a", "b"]."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class ServeSettings(BaseSettings):
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
        cors_origins: origins of other pages that may use the service from a browser, such as https://example.org
        max_body_mb: maximum size of a request body, MB (10^6 bytes)
        max_megapixels: maximum size of an image, 10^6 pixels, checked from its header
        max_files: maximum number of files in one POST /detect/batch
        max_buffered_mb: maximum size of all request bodies in memory, MB
        queue_size: maximum number of images in progress; further ones get 429
        batch_size: maximum number of images in a batch (default: 1 in openvino, where a batch is no faster, else 8)
        batch_wait_ms: maximum time a batch waits for images that are being decoded, ms
        decode_threads: number of decoding threads (default: one a core)
        deadline_s: maximum time from the last byte of a request to its response, s; later requests are dropped
        body_timeout_s: maximum time from the header of a request to its last byte, s
        header_timeout_s: maximum time for a complete header, and for the client to read a response, s
        grace_s: maximum time for running requests to finish at shutdown, s
        max_connections: maximum number of open connections
        max_websockets: maximum number of open WebSockets
        log_level: level of the JSON log on stderr
    """

    model_config = SettingsConfigDict(env_prefix="PELEE_", frozen=True, extra="forbid", env_ignore_empty=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    models: Annotated[Names, Field(min_length=1)] = ("pelee-voc", "peleenet-tiny-imagenet")
    runtime: RuntimeName = "auto"
    device: str = "auto"
    precision: Precision = "auto"
    mode: Mode | Literal["auto"] = "auto"
    api_keys: Secrets = ()
    cors_origins: Names = ()
    max_body_mb: Annotated[float, Field(gt=0, le=1000)] = 10.0
    max_megapixels: Annotated[float, Field(gt=0, le=89)] = 25.0
    max_files: Annotated[int, Field(ge=1, le=100)] = 16
    max_buffered_mb: Annotated[float, Field(gt=0)] = 256.0
    queue_size: Annotated[int, Field(ge=1, le=10_000)] = 64
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 1.0
    decode_threads: Annotated[int, Field(ge=1, le=256)] | None = None
    deadline_s: Seconds = 3.0
    body_timeout_s: Seconds = 20.0
    header_timeout_s: Seconds = 10.0
    grace_s: Seconds = 10.0
    max_connections: Annotated[int, Field(ge=1)] = 2000
    max_websockets: Annotated[int, Field(ge=0)] = 32
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("api_keys")
    @classmethod
    def _long_enough(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 16 for key in keys):
            raise ValueError("a key is shorter than 16 characters; make one with: openssl rand -hex 16")
        return keys

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
    def max_pixels(self) -> int:
        """Maximum size of an image, pixels."""
        return int(self.max_megapixels * 1e6)

    @property
    def decoders(self) -> int:
        """Number of decoding threads."""
        return self.decode_threads or os.cpu_count() or 1

    def redacted(self) -> dict[str, Any]:
        """All settings as plain values, without secrets: of the API keys only their number."""
        return self.model_dump(mode="json") | {"api_keys": len(self.api_keys)}


def load_settings(**flags: Any) -> ServeSettings:
    """Read the settings from the environment, overridden by `flags`. Raises `SettingsError`: one line, no secret."""
    try:
        return ServeSettings(**flags)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        where = f"--{name.replace('_', '-')}" if name in flags else f"PELEE_{name.upper()}"
        raise SettingsError(f"{where}: {first['msg']}") from None
    except ValueError as error:  # an environment variable that cannot be parsed at all
        raise SettingsError(str(error).splitlines()[0]) from None
