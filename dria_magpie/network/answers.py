"""What was asked of the broker and is not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.msg import Msg

from dria_magpie.errors import NetworkError

_LOOK = 0.1


class Answers:
    """Waits for answers, each no longer than it may take.

    Args:
        explain: says why there was none.
    """

    def __init__(self, explain: Callable[[], str]) -> None:
        self._explain = explain
        self._waiting: dict[str, tuple[asyncio.Future[Msg], float]] = {}
        self._asked = 0
        self._watch = asyncio.create_task(self._expire())

    def expect(self, inbox: str, patience: float) -> tuple[str, asyncio.Future[Msg]]:
        """Give a subject below an inbox, and the answer that comes there.

        The answer ends in a `NetworkError` if it takes longer than so many seconds.
        """
        self._asked += 1
        subject = f"{inbox}.{self._asked}"
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Msg] = loop.create_future()
        self._waiting[subject] = (future, loop.time() + patience)
        return subject, future

    def drop(self, subject: str) -> None:
        """Wait for an answer no more."""
        self._waiting.pop(subject, None)

    async def take(self, message: Msg) -> None:
        """Take an answer; one that nobody waits for is passed over."""
        waiting = self._waiting.pop(message.subject, None)
        if waiting and not waiting[0].done():
            waiting[0].set_result(message)

    def fail(self, error: NetworkError) -> None:
        """End whatever waits."""
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(error)

    async def aclose(self) -> None:
        """End whatever waits, as the connection is closed."""
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)
        self.fail(NetworkError("the connection to the network was closed"))

    async def _expire(self) -> None:
        """End what has waited too long; one clock for all, as a timer each would cost more."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK)
            now = loop.time()
            for subject in [name for name, (_, until) in self._waiting.items() if until < now]:
                future, _ = self._waiting.pop(subject)
                if not future.done():
                    future.set_exception(NetworkError(self._explain()))
