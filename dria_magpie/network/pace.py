"""What a stranger's graph costs to read and to run: paid for in time by whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_FREE = 0.05
_PAUSE = 4.0
_WATCHED = 3600.0


class Pace:
    """Has work done for clients: of each one at a time, and no more than a fifth of the time.

    Whose work took long once has it done in a thread, so that others are heard meanwhile, though
    more slowly; for what most clients bring, changing threads would cost more than the work.

    Example::

        job = await pace.spend("me", lambda: Job.of(seq, subject, payload))
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._slow_until: dict[str, float] = {}

    async def spend(self, client: str, work: Callable[[], T]) -> T:
        """Do what may take long, and give what comes of it, or raise it.

        Args:
            client: whose it is; there are not more of them than were invited.
            work: must not change what others see.
        """
        lock = self._locks.setdefault(client, asyncio.Lock())
        await lock.acquire()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            if self._slow_until.get(client, 0.0) < started:
                return work()
            return await asyncio.to_thread(work)
        finally:
            spent = loop.time() - started
            if spent < _FREE:
                lock.release()
            else:
                self._slow_until[client] = loop.time() + _WATCHED
                loop.call_later(_PAUSE * spent, lock.release)

    async def rest(self, client: str, seconds: float) -> None:
        """Have a client's next work wait."""
        lock = self._locks.setdefault(client, asyncio.Lock())
        await lock.acquire()
        asyncio.get_running_loop().call_later(seconds, lock.release)
