"""The log: a line of JSON each on stderr, without picture bytes, queries or keys."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("pelee.serve")


class JsonFormatter(logging.Formatter):
    """A record as one line: time, level, event, and the fields that `log` was given."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; line breaks and control characters are escaped, so that nobody can forge one."""
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
    """Send the whole process's log to stderr as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level.upper())
    # At "info" it writes WebSockets' addresses with their queries, and the key is in them.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def log(level: int, event: str, exception: BaseException | None = None, **fields: Any) -> None:
    """Write a line."""
    LOGGER.log(level, event, exc_info=exception, extra={"fields": fields})
