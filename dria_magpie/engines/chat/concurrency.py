"""How many calls an endpoint is given at once: fewer when it complains, more while it answers."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto

_SHRINK = 0.7


class Signal(Enum):
    """What a finished call says about the endpoint's load."""

    ANSWERED = auto()
    OVERLOADED = auto()
    NEITHER = auto()


class AdaptiveLimiter:
    """Hands out permits for calls, first come, first served.

    It begins at the maximum. A call that the endpoint refused as too much shrinks the limit, once
    per round trip: calls that were under way at that time say nothing new. Each answer adds the
    limit's reciprocal, so that one round of answers adds one permit. It belongs to one event loop.

    Args:
        most: the largest limit, 1 or more.

    Example::

        ticket = await limiter.acquire()
        try:
            ...
        finally:
            limiter.release(ticket, Signal.ANSWERED)
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._running = 0
        self._granted = 0
        self._granted_at_shrink = 0
        self._waiters: deque[asyncio.Future[int]] = deque()

    @property
    def limit(self) -> int:
        """How many permits there are now."""
        return int(self._limit)

    @property
    def running(self) -> int:
        """How many permits are taken."""
        return self._running

    async def acquire(self) -> int:
        """Wait for a permit; give the ticket that `release` wants back."""
        if not self._waiters and self._running < self.limit:
            return self._grant()
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # The permit came in the same moment as the cancellation: it is the next one's
                self.release(waiter.result(), Signal.NEITHER)
            raise

    def release(self, ticket: int, signal: Signal) -> None:
        """Give a permit back, and tell what became of the call."""
        self._running -= 1
        if signal is Signal.ANSWERED:
            self._limit = min(self._limit + 1.0 / self._limit, self._most)
        elif signal is Signal.OVERLOADED and ticket > self._granted_at_shrink:
            self._limit = max(self._limit * _SHRINK, 1.0)
            self._granted_at_shrink = self._granted
        self._wake()

    def _grant(self) -> int:
        self._running += 1
        self._granted += 1
        return self._granted

    def _wake(self) -> None:
        while self._waiters and self._running < self.limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._grant())
