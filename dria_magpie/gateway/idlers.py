"""Connections on which nobody says anything: there are only so many of them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from aiohttp import web

logger = logging.getLogger(__name__)
# A client says what it wants as soon as it is connected.
_HEAD_SECONDS = 10.0
_LOOK = 2.0


class Idlers:
    """Closes connections that have not asked for anything in time.

    Attributes:
        server: whose connections they are; None before there is one.
    """

    def __init__(self) -> None:
        self.server: web.Server | None = None
        self._asked: set[object] = set()
        self._since: dict[object, float] = {}

    def note(self, request: web.BaseRequest) -> None:
        """Note that somebody asks for something."""
        self._asked.add(request.protocol)

    async def run(self) -> None:
        """Look after them for ever."""
        while True:
            await asyncio.sleep(_LOOK)
            self._look(asyncio.get_running_loop().time())

    def _look(self, now: float) -> None:
        connections = set(self.server.connections) if self.server else set()
        self._asked &= connections
        self._since = {one: self._since.get(one, now) for one in connections}
        for connection in connections - self._asked:
            if now - self._since[connection] > _HEAD_SECONDS:
                connection.force_close()


def raise_limit() -> None:
    """Have as many connections as the system allows: each takes two files while it is watched."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    logger.info("%d files may be open", soft, extra={"action": "files_allowed"})
