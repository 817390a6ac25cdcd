"""JSON log on stderr, one object a line, without image bytes, queries or keys."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("pelee.serve")


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
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(level: str) -> None:
    """Send all log records of the process to stderr as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level.upper())
    # At "info" uvicorn logs the URLs of WebSockets with their queries, which contain the API key.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def log(level: int, event: str, exception: BaseException | None = None, **fields: Any) -> None:
    """Log an event with fields."""
    LOGGER.log(level, event, exc_info=exception, extra={"fields": fields})
