"""A network that is up as long as it is needed, and never longer than the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from dria_magpie.errors import InvalidInputError
from dria_magpie.models import Task
from dria_magpie.network import Network


class Lifetime:
    """Starts a network at its first use and stops it with the loop at the latest.

    A started async generator is what an event loop closes by itself when it ends, so the network
    hangs on one: it goes down although nobody calls `aclose`.

    Args:
        network: the network, not started.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()
        self._guard: AsyncGenerator[None, None] | None = None

    async def network(self, task: Task | None = None) -> Network:
        """Give the network, started.

        Args:
            task: what it is started for; a task that no node runs starts nothing.

        Raises:
            DriaMagpieError: it cannot be started, or refuses the task.
            InvalidInputError: another event loop uses it now.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_running():
                raise InvalidInputError(
                    "this Dria is in use in another event loop; make one for each thread"
                )
            self._loop, self._starting, self._guard = loop, asyncio.Lock(), None
        if self._guard is not None:
            return self._network
        async with self._starting:
            if self._guard is None:
                if task is not None:
                    self._network.check(task)
                # An earlier loop may have ended without closing its generators.
                await self._network.aclose()
                await self._network.start()
                self._guard = _close_at_the_end(self._network)
                await anext(self._guard)
            return self._network

    def drain(self) -> None:
        """Have the network begin no further call."""
        self._network.drain()

    async def aclose(self) -> None:
        """Stop the network, if it runs; it may be used again."""
        guard, self._guard = self._guard, None
        if guard is not None:
            await guard.aclose()


async def _close_at_the_end(network: Network) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await network.aclose()
