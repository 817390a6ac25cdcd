"""JSON log on stderr, one object a line, without image bytes, queries or keys."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("pelee.serve")
INTERVAL_S = 1.0  # seconds between two warnings or errors of one kind
MAX_KINDS = 1000


class JsonFormatter(logging.Formatter):
    """Formatter of a record as one line of JSON: time, level, event, and the fields given to `log`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; line breaks and control characters are escaped against log injection."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if repeated := getattr(record, "repeated", 0):
            line["repeated"] = repeated
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class RepeatFilter(logging.Filter):
    """Filter that passes a warning or error of one kind once a second; the next line says how many were left out.

    A kind is a logger, a message before its arguments are filled in, and a class of exception. Without the filter, a
    condition that repeats, such as a lack of file descriptors, fills the disk.
    """

    def __init__(self) -> None:
        """Start with no kind."""
        super().__init__()
        self._kinds: dict[tuple[str, str, object], tuple[float, int]] = {}  # time of the latest line, lines left out

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if record.levelno < logging.WARNING:
            return True
        first = str(record.msg).partition("\n")[0]
        kind = (record.name, first, record.exc_info[0] if record.exc_info else None)
        now = time.monotonic()
        written, left_out = self._kinds.get(kind, (-INTERVAL_S, 0))
        if now - written < INTERVAL_S:
            self._kinds[kind] = (written, left_out + 1)
            return False
        if len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = (now, 0)
        record.repeated = left_out
        return True


def set_up_logging(level: str) -> None:
    """Send all log records of the process to stderr as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level.upper())
    # At "info" uvicorn logs the URLs of WebSockets with their queries, which contain the API key.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def log(level: int, event: str, exception: BaseException | None = None, **fields: Any) -> None:
    """Log an event with fields."""
    LOGGER.log(level, event, exc_info=exception, extra={"fields": fields})
