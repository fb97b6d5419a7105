"""A program that is started again whenever it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from dria_magpie.errors import DriaMagpieError
from dria_magpie.network.server.leashed import Leashed

logger = logging.getLogger(__name__)
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_LASTING = 60.0


class Kept:
    """Keeps a program running. Every start and every end is a line of the log.

    Args:
        name: of the program.
        start: starts it; called again and again.
        last: the exit code by which it says that starting it again is of no use; None for none.
    """

    def __init__(
        self, name: str, start: Callable[[], Awaitable[Leashed]], *, last: int | None = None
    ) -> None:
        self._name = name
        self._start = start
        self._last = last
        self._child: Leashed | None = None
        self._wait = _FIRST_WAIT

    async def start(self, action: str = "started") -> None:
        """Start it; errors are those of the function that does."""
        child = self._child = await self._start()
        self._tell(action, child)

    async def keep(self) -> int:
        """Start it again whenever it ends, later each time until it has lasted for a minute.

        Returns:
            The exit code that is the last.
        """
        while True:
            begun = time.monotonic()
            code = await self._wait_for_end()
            if code == self._last:
                return code
            if time.monotonic() - begun > _LASTING:
                self._wait = _FIRST_WAIT
            await self._start_again()

    async def stop(self) -> None:
        """End it, if it runs."""
        if self._child is not None:
            await self._child.stop()
            self._tell("ended", self._child)
            self._child = None

    async def _wait_for_end(self) -> int:
        child = self._child
        if child is None:
            raise RuntimeError("to be started first")
        code = await child.wait()
        self._child = None
        self._tell("ended", child)
        return code

    async def _start_again(self) -> None:
        while self._child is None:
            await asyncio.sleep(self._wait)
            self._wait = min(2 * self._wait, _LONGEST_WAIT)
            try:
                await self.start("restarted")
            except DriaMagpieError as error:
                context = {"action": "not_started", "program": self._name}
                logger.warning("%s", error, extra=context)

    def _tell(self, action: str, child: Leashed) -> None:
        context = {"action": action, "program": self._name, "pid": child.pid}
        if child.exit_code is not None:
            context["exit_code"] = child.exit_code
        logger.info("%s %s", self._name, action, extra=context)
