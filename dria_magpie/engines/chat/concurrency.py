"""How many calls an endpoint is given at once: fewer when it complains, more while it answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from dria_magpie.engines.chat.gate import Gate

_ROUND, _REFUSED_ROUND = 16, 4
_MILD, _KEPT_AT_LEAST, _KEPT_IF_MILD = 0.6, 1 / 4, 5 / 6
_LONGEST_PAUSE = 5.0


class Signal(Enum):
    """What a finished call says about the endpoint's load."""

    ANSWERED = auto()
    OVERLOADED = auto()
    NEITHER = auto()


class AdaptiveLimiter:
    """Hands out permits for calls, first come, first served.

    It begins at the maximum, and thinks again after each round: as many calls as there are permits,
    but 16 at least, or 4 if all were refused. A round with an answer adds a permit, and the share
    of refused calls is taken away. Up to 60 % that is a sixth of the permits at most, as some
    endpoints refuse a part of all calls, however few they are given; beyond, three quarters. The
    permit of a refused call is held until as many calls have ended as there are permits, or for 5
    seconds: a refusal takes no time, and the next call would run into another. It belongs to one
    event loop.

    Args:
        most: the largest limit, 1 or more.
        gate: ends the wait for a permit when it is shut.

    Attributes:
        answered: how many calls were answered.
    """

    def __init__(self, most: int, gate: Gate | None = None) -> None:
        self._gate = gate or Gate()
        self._most = float(most)
        self._limit = float(most)
        self._running = 0
        self._ended = self._held = 0
        self._round = self._refused = 0
        self.answered = 0
        self._hold: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many permits there are now."""
        return int(self._limit)

    @property
    def running(self) -> int:
        """How many permits are taken."""
        return self._running

    async def acquire(self) -> None:
        """Wait for a permit.

        Raises:
            DrainedError: the gate is shut.
        """
        self._gate.check()
        if not self._waiters and self._may_begin():
            self._running += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await self._gate.wait(waiter)
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # The permit came in the same moment as the end of the wait: it is the next one's
                self.release(Signal.NEITHER)
            raise

    def release(self, signal: Signal, retry_after: float | None = None) -> None:
        """Give a permit back, and tell what became of the call.

        Args:
            signal: what the call says about the endpoint's load.
            retry_after: for how many seconds the endpoint wants no call, if it said so. All wait
                for them, though 5 at most, where it refused a whole round.
        """
        self._running -= 1
        if signal is not Signal.NEITHER:
            self._count(signal is Signal.OVERLOADED)
            least = _REFUSED_ROUND if self._refused == self._round else _ROUND
            if self._round >= max(self.limit, least):
                self._think_again(retry_after or 0.0)
        if self._ended >= self.limit or not self._running:
            self._let_go()
        else:
            self._wake()

    def _count(self, refused: bool) -> None:
        self._ended += 1
        self._round += 1
        self._held += refused
        if refused and self._hold is None:
            self._hold = _later(_LONGEST_PAUSE, self._let_go)
        self._refused += refused
        self.answered += not refused

    def _think_again(self, retry_after: float) -> None:
        share = self._refused / self._round
        self._round = self._refused = 0
        kept = max(1.0 - share, _KEPT_IF_MILD if share <= _MILD else _KEPT_AT_LEAST)
        self._limit = max(1.0, min(self._limit * kept + (share < 1.0), self._most))
        if share == 1.0 and retry_after > 0.0 and self._pause is None:
            self._pause = _later(min(retry_after, _LONGEST_PAUSE), self._resume)

    def _let_go(self) -> None:
        self._ended = self._held = 0
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        self._wake()

    def _resume(self) -> None:
        self._pause = None
        self._wake()

    def _may_begin(self) -> bool:
        return self._pause is None and self._running + self._held < self.limit

    def _wake(self) -> None:
        while self._waiters and self._may_begin():
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._running += 1
                waiter.set_result(None)


def _later(seconds: float, act: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, act)
