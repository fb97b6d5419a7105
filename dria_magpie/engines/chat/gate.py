"""Whether further calls may begin, and the end of the wait for those that were about to."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from dria_magpie.errors import DrainedError

_Value = TypeVar("_Value")


class Gate:
    """What a call passes before it begins, the first time and whenever it is made again.

    Calls that are under way know nothing of it. Any code may shut and open it, at any time.

    Example::

        await gate.sleep(5.0)  # ends in a DrainedError as soon as somebody calls gate.shut()
    """

    def __init__(self) -> None:
        self._shut = False
        self._waits: set[asyncio.Future[Any]] = set()

    def shut(self) -> None:
        """Let nothing more begin: who waits now, or comes later, gets a `DrainedError`."""
        self._shut = True
        for future in self._waits:
            # What waits in a loop that is gone cannot be woken any more
            if not future.done() and not future.get_loop().is_closed():
                future.set_exception(_refusal())

    def open(self) -> None:
        """Let calls begin again."""
        self._shut = False

    def check(self) -> None:
        """Raise `DrainedError` if the gate is shut."""
        if self._shut:
            raise _refusal()

    async def wait(self, future: asyncio.Future[_Value]) -> _Value:
        """Wait for a future, or until the gate is shut.

        Args:
            future: whoever else ends it looks first whether it is done.
        """
        self.check()
        self._waits.add(future)
        try:
            value = await future
        finally:
            self._waits.discard(future)
        # Both may have come in the same moment
        self.check()
        return value

    async def wait_for_task(self, task: asyncio.Task[_Value]) -> _Value:
        """Wait for a task that others wait for too, or until the gate is shut.

        Whoever leaves, the task goes on.
        """
        self.check()
        if not task.done():
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def end(_: object) -> None:
                _end(over)

            # Not asyncio.shield, which ends its future without a look whether `shut` did
            task.add_done_callback(end)
            try:
                await self._outlast(over)
            finally:
                task.remove_done_callback(end)
        return task.result()

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until the gate is shut."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _end, over)
        try:
            await self._outlast(over)
        finally:
            timer.cancel()

    async def _outlast(self, over: asyncio.Future[None]) -> None:
        try:
            await self.wait(over)
        finally:
            if over.done() and not over.cancelled():
                over.exception()  # seen, also where a cancellation came in the same moment


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _refusal() -> DrainedError:
    return DrainedError("this engine takes no further calls until it is started again")
