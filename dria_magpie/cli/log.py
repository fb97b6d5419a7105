"""Log lines as JSON on stderr, one an event, for programs that run for long."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from dria_magpie.cli.text import printable

# What every record has; whatever else there is came as ``extra``
_OWN = {*vars(logging.makeLogRecord({})), "message", "taskName"}


class JsonLines(logging.Formatter):
    """Writes ``{"time", "action", "level", "message", …}``; what came as ``extra`` is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        extra = {name: value for name, value in vars(record).items() if name not in _OWN}
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "action": extra.pop("action", record.name),
            "level": record.levelname.lower(),
            "message": printable(record.getMessage()),
            **extra,
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json() -> None:
    """Have this package's log lines written to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("dria_magpie")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
