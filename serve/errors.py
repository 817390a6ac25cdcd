"""What the service answers when it cannot do what was asked: a code, a status, and one line that says what to do."""

import json
from dataclasses import dataclass

#: Every code with its status; `ServiceError` takes no other.
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
    "unsupported_picture": 415,
    "empty": 422,
    "missing_file": 422,
    "too_many_files": 422,
    "unreadable_picture": 422,
    "too_many_pixels": 422,
    "invalid_parameter": 422,
    "busy": 429,
    "internal_error": 500,
    "model_invalid": 500,
    "not_ready": 503,
    "draining": 503,
    "inference_failed": 503,
    "deadline_exceeded": 504,
}
#: For what Starlette itself refuses: no such path, no such method.
CODES = {400: "bad_request", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}


@dataclass(eq=False)
class ServiceError(Exception):
    """An answer other than the one asked for.

    Attributes:
        code: one of `STATUS`.
        message: one line for a person: what was found, what was expected, what to do. It repeats no picture's bytes.
        retry_after: whole seconds after which to ask again, None where that would change nothing.
    """

    code: str
    message: str
    retry_after: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    def body(self, request_id: str) -> dict[str, str]:
        """The answer's JSON as plain values."""
        return {"code": self.code, "message": self.message, "request_id": request_id}

    def content(self, request_id: str) -> bytes:
        """The answer's JSON."""
        return json.dumps(self.body(request_id)).encode()

    def headers(self) -> dict[str, str]:
        """The headers that belong to it."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}


class ClientGone(Exception):
    """The client closed its connection before it had its answer: nobody is left to hear of it."""
