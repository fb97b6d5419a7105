"""Whose message is next: each sender waits for what he has sent himself, hardly for others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from dria_magpie.network.delivery import Delivery

# What a message takes is told in bytes; this is what even an empty one takes.
_LEAST = 2048
_SHARE = 32 * 1024
# Bytes a second of one sender. What is beyond waits here unread and fills what the broker keeps of
# him, so that he can hand in nothing more.
_RATE, _AT_FIRST = 8 * 2**20, 16 * 2**20
_LOOK = 0.02
_MOST_AT_ONCE = 64


@dataclass(slots=True)
class _Line:
    """What one sender has sent."""

    waiting: deque[Delivery] = field(default_factory=deque)
    handled: int = 0
    credit: float = _AT_FIRST
    seen: float = field(default_factory=monotonic)

    @property
    def is_ready(self) -> bool:
        """Whether the next message may be handled now."""
        return bool(self.waiting) and self.handled < _MOST_AT_ONCE and self.credit > 0

    def refill(self, now: float) -> None:
        """Let it have what the time since the last call is good for."""
        self.credit = min(_AT_FIRST, self.credit + (now - self.seen) * _RATE)
        self.seen = now


class Turnstile:
    """Has messages handled, as many bytes of each sender by turns, and none twice at once.

    Args:
        handle: handles a message, and raises nothing.

    Example::

        turnstile = Turnstile(handle)
        running = asyncio.create_task(turnstile.run())
        turnstile.put("node.a", delivery)
    """

    def __init__(self, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        self._handle = handle
        self._lines: dict[str, _Line] = {}
        self._held: set[tuple[str, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()

    def put(self, sender: str, delivery: Delivery) -> None:
        """Take a message in; one that comes again while it waits is passed over."""
        if _key(delivery) in self._held:
            return
        self._held.add(_key(delivery))
        self._lines.setdefault(sender, _Line()).waiting.append(delivery)
        self._wanted.set()

    async def run(self) -> None:
        """Let messages through until this is cancelled."""
        try:
            while True:
                self._wanted.clear()
                if await self._go_round():
                    continue
                waiting = any(line.waiting for line in self._lines.values())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), _LOOK if waiting else None)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _go_round(self) -> bool:
        """Give each sender his share; tell whether any can have more at once."""
        for sender, line in list(self._lines.items()):
            line.refill(monotonic())
            spent = 0
            while line.is_ready and spent < _SHARE:
                cost = _LEAST + len(line.waiting[0].payload)
                spent += cost
                line.credit -= cost
                self._begin(line, line.waiting.popleft())
                # The work is done here, before the next one's begins.
                await asyncio.sleep(0)
            if not line.waiting and not line.handled and line.credit >= _AT_FIRST:
                del self._lines[sender]
        return any(line.is_ready for line in self._lines.values())

    def _begin(self, line: _Line, delivery: Delivery) -> None:
        line.handled += 1
        task = asyncio.ensure_future(self._let_through(line, delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _let_through(self, line: _Line, delivery: Delivery) -> None:
        try:
            await self._handle(delivery)
        finally:
            line.handled -= 1
            self._held.discard(_key(delivery))
            self._wanted.set()


def _key(delivery: Delivery) -> tuple[str, int]:
    return delivery.subject.partition(".")[0], delivery.seq
