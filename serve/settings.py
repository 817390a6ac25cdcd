"""The service's settings: the environment (PELEE_...) and, over it, the flags of `pelee-serve`."""

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
    """All that can be set. A field's variable is its name in capitals after PELEE_; lists have commas between.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        models: shipped names, folders or files; the first of a task is that task's default.
        runtime, device, precision, mode: where and how the networks run, see `pelee.runtime.selection.open_session`. In the mode
            "auto" a model is opened twice where that differs: for a picture alone, and for many at a time.
        api_keys: where there are any, every request but those for the page and for health needs one of them. They
            come from the environment alone: a flag would show in the list of processes.
        cors_origins: origins of other pages that may use the service from a browser, such as https://example.org.
        max_body_mb: largest body, in 10^6 bytes.
        max_megapixels: largest picture, in 10^6 pixels; a larger one is refused by its header.
        max_files: most files in one POST /detect/batch.
        max_buffered_mb: most bytes of bodies in memory at a time, of all requests together.
        queue_size: most pictures under way at a time; who comes then is sent away with 429.
        batch_size: most pictures in a batch; None is 1 for openvino, where a batch is no faster, else 8.
        batch_wait_ms: a batch waits at most so long for pictures that are being decoded.
        decode_threads: threads that decode pictures; None for one a core.
        deadline_s: from a request's last byte to its answer; later than that it is dropped.
        body_timeout_s: from a request's header to its last byte.
        header_timeout_s: from a connection's start, or its last answer, to the end of the next header; also how long
            an answer may wait for a client that does not read.
        grace_s: what runs when the service is told to stop has so long to finish.
        max_connections, max_websockets: most at a time.
        log_level: of the log on stderr, a line of JSON each.
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
        """Largest body, bytes."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_frame(self) -> int:
        """Largest message of /ws, bytes: all sockets, each with one message at work and one read ahead, hold together
        no more than bodies may.
        """
        return min(self.max_body, int(self.max_buffered_mb * 1e6 / max(2 * self.max_websockets, 1)))

    @property
    def max_pixels(self) -> int:
        """Largest picture, pixels."""
        return int(self.max_megapixels * 1e6)

    @property
    def decoders(self) -> int:
        """Threads that decode."""
        return self.decode_threads or os.cpu_count() or 1

    def shown(self) -> dict[str, Any]:
        """All of them without secrets: of the keys their number alone."""
        return self.model_dump(mode="json") | {"api_keys": len(self.api_keys)}


def load_settings(**flags: Any) -> ServeSettings:
    """Settings from the environment, with `flags` over them. Raises `SettingsError`, one line, without a secret."""
    try:
        return ServeSettings(**flags)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        where = f"--{name.replace('_', '-')}" if name in flags else f"PELEE_{name.upper()}"
        raise SettingsError(f"{where}: {first['msg']}") from None
    except ValueError as error:  # an environment variable that cannot be parsed at all
        raise SettingsError(str(error).splitlines()[0]) from None
