"""What aiohttp says of requests that are none: that there are some, and not what they said."""

from __future__ import annotations

import logging
import time

_EVERY = 10.0


class Hushed(logging.Filter):
    """Takes requests' bytes, which may be keys, out of log lines, and lets few of these through."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a line; tell whether it is written."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _EVERY
        record.msg, record.args = "requests come that cannot be read, or break off", ()
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.action = "request_unreadable"
        return True


def make_logger() -> logging.Logger:
    """Give the logger for aiohttp's server."""
    logger = logging.getLogger(__name__)
    if not any(isinstance(known, Hushed) for known in logger.filters):
        logger.addFilter(Hushed())
    return logger
