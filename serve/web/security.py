"""Security: API keys, check of Host and Origin, response headers, request ids."""

import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from detection.display.host_names import host_name, is_address, is_local_name
from serve.errors import ServiceError
from serve.settings import ServeSettings

KEY_HEADER = "x-api-key"
#: Response headers, unless the response sets them itself, as the page does.
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check_key(given: str | None, keys: Sequence[str]) -> None:
    """Raise `ServiceError` unless there are no keys or `given` is one of them; compared in constant time."""
    if not keys:
        return
    sent = (given or "").encode()
    matches = [hmac.compare_digest(sent, key.encode()) for key in keys]
    if not any(matches):
        found = "no key" if given is None else "an unknown key"
        raise ServiceError("unauthorized", f"{found}; send one of this server's in the header X-API-Key")


def allowed_hosts(settings: ServeSettings) -> frozenset[str] | None:
    """Return the host names under which the service answers; None for any.

    Without keys, a service on a loopback address answers as localhost and under these names only. Otherwise any web
    page could read from it, through a name of its own that it makes point to 127.0.0.1 (DNS rebinding).
    """
    names = frozenset(name.lower().strip("[]") for name in settings.allowed_hosts)
    if settings.api_keys or "*" in names or not _is_loopback(settings.host):
        return None
    return names


def check_host(host: str | None, allowed: frozenset[str] | None) -> None:
    """Raise `ServiceError` if a Host header names a domain, and that is not one of `allowed_hosts`.

    Programs that speak HTTP/1.0 send no Host.
    """
    if allowed is None or host is None or is_local_name(host) or host_name(f"//{host}") in allowed:
        return
    raise ServiceError(
        "forbidden", "this server answers as localhost only; for another name, set --allowed-hosts or API keys"
    )


def check_origin(headers: Mapping[str, str], allowed: Sequence[str], hosts: Sequence[str] = ()) -> None:
    """Raise `ServiceError` if a WebSocket was opened by a page of another origin that is not allowed.

    Browsers do not apply the same-origin policy to WebSockets: the server must check. Programs send no Origin.

    Args:
        headers: of the handshake.
        allowed: origins of other pages; "*" for any.
        hosts: names under which a reverse proxy publishes the service.
    """
    origin = headers.get("origin")
    if origin is None or origin in allowed or "*" in allowed:
        return
    if urlsplit(origin).netloc.lower() == headers.get("host", "").lower():
        return
    if host_name(origin) in {host.lower().strip("[]") for host in hosts}:
        return
    raise ServiceError(
        "forbidden",
        "the page of another server may not use this one; see PELEE_CORS_ORIGINS, and PELEE_ALLOWED_HOSTS for a proxy",
    )


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def request_id(given: str | None) -> str:
    """Return the id that a client or proxy sent if it is well-formed, else a new one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
