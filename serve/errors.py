"""Error responses of the service: a code, its HTTP status, and a one-line message."""

import json
from dataclasses import dataclass

#: HTTP status of every error code; `ServiceError` accepts no other.
STATUS = {
    "bad_request": 400,
    "bad_multipart": 400,
    "too_many_parts": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "reload_failed": 409,
    "body_too_large": 413,
    "uri_too_long": 414,
    "unsupported_picture": 415,
    "empty": 422,
    "missing_file": 422,
    "too_many_files": 422,
    "unreadable_picture": 422,
    "too_many_pixels": 422,
    "annotation_too_large": 422,
    "invalid_parameter": 422,
    "upgrade_required": 426,
    "busy": 429,
    "header_too_large": 431,
    "internal_error": 500,
    "model_invalid": 500,
    "not_ready": 503,
    "storage_unavailable": 503,
    "draining": 503,
    "inference_failed": 503,
    "deadline_exceeded": 504,
}
#: Error code by the status of errors that Starlette raises itself: unknown path, wrong method.
CODES = {400: "bad_request", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}


@dataclass(eq=False)
class ServiceError(Exception):
    """Error response.

    Attributes:
        code: one of `STATUS`.
        message: one line: what was found, what was expected, what to do. It contains no byte of an image.
        retry_after: whole seconds after which to retry; None where a retry would fail again.
    """

    code: str
    message: str
    retry_after: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    def body(self, request_id: str) -> dict[str, str]:
        """Response body as plain values."""
        return {"code": self.code, "message": self.message, "request_id": request_id}

    def content(self, request_id: str) -> bytes:
        """Response body as JSON."""
        return json.dumps(self.body(request_id)).encode()

    def headers(self) -> dict[str, str]:
        """Additional response headers."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}


def short(name: str) -> str:
    """Name that a client sent, for a message: in quotes, of at most 60 characters."""
    return repr(name if len(name) <= 60 else name[:57] + "...")


class ClientDisconnected(Exception):
    """The client disconnected before the response; no response is sent."""
