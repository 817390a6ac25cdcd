"""Security: API keys, origin check of WebSockets, response headers, request ids."""

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from serve.errors import ServiceError

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


def check_origin(headers: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Raise `ServiceError` if a WebSocket was opened by a page of another origin that is not allowed.

    Browsers do not apply the same-origin policy to WebSockets: the server must check. Programs send no Origin.
    """
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return
    if urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise ServiceError("forbidden", "the page of another server may not use this one; see PELEE_CORS_ORIGINS")


def request_id(given: str | None) -> str:
    """Return the id that a client or proxy sent if it is well-formed, else a new one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
