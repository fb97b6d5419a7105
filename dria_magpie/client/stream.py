"""Many runs at once: started as there is room, handed out as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sized
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from dria_magpie.errors import DriaMagpieError, InvalidInputError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class _End:
    """No more items: how many there were, and what the iterator raised in the end."""

    count: int
    error: Exception | None = None


class Stream(Generic[Item, Outcome]):
    """Runs items side by side; memory depends on the window, not on the number of items.

    Args:
        items: what to run; read only as far as there is room.
        run: runs one item.
        window: how many items are running, or finished and not yet taken.
        deadline: the loop's time from which on an iterator, which may be endless, is not read.
        ordered: give outcomes in the order of the items. One that waits for an earlier one takes
            room, so that a slow item holds the others up in the end.
    """

    def __init__(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        run: Callable[[Item], Awaitable[Outcome]],
        window: int,
        deadline: float | None = None,
        *,
        ordered: bool = False,
    ) -> None:
        self._items = items
        self._ordered = ordered
        self._endless = not isinstance(items, Sized)
        self._deadline = deadline
        self._run = run
        # Where there is no room at all, as there are no nodes, each item is to end with the reason.
        self._room = asyncio.Semaphore(max(window, 1))
        self._running: set[asyncio.Task[None]] = set()
        # What was run, the end of the items, or what went wrong in a run.
        self._news: asyncio.Queue[tuple[int, Outcome] | _End | BaseException] = asyncio.Queue()

    async def results(self) -> AsyncGenerator[tuple[int, Outcome], None]:
        """Give position and outcome of each item, as they finish.

        Closing the generator cancels what runs. What the iterator of the items raises is raised
        here once every item before it has been given; what `run` raises is raised at once.
        """
        feeder = asyncio.create_task(self._feed())
        end: _End | None = None
        taken = 0
        waiting: dict[int, Outcome] = {}
        try:
            while end is None or taken != end.count:
                news = await self._news.get()
                if isinstance(news, BaseException):
                    raise news
                if isinstance(news, _End):
                    end = news
                    continue
                position, outcome = news
                waiting[position] = outcome
                while (taken if self._ordered else position) in waiting:
                    place = taken if self._ordered else position
                    yield place, waiting.pop(place)
                    taken += 1
                    self._room.release()
            if end.error is not None:
                raise end.error
        finally:
            await _cancel(feeder, *self._running)

    async def _feed(self) -> None:
        count = 0
        deadline = self._deadline if self._endless else None
        scope = asyncio.timeout_at(deadline)
        try:
            async with scope, aclosing(_each(self._items)) as items:
                async for item in items:
                    await self._room.acquire()
                    worker = asyncio.create_task(self._work(count, item))
                    self._running.add(worker)
                    worker.add_done_callback(self._running.discard)
                    count += 1
            self._news.put_nowait(_End(count))
        except TimeoutError as error:
            self._news.put_nowait(_End(count, None if scope.expired() else error))
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are read
            error = _translate(error)
            # Items that have begun are paid for; only who leaves, as with Ctrl-C, waits for none
            self._news.put_nowait(_End(count, error) if isinstance(error, Exception) else error)

    async def _work(self, position: int, item: Item) -> None:
        try:
            self._news.put_nowait((position, await self._run(item)))
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are read
            self._news.put_nowait(_translate(error))


def _translate(error: BaseException) -> BaseException:
    """Give what is raised where the results are read.

    Raises:
        CancelledError: this task was cancelled, and nobody reads results any more.
    """
    if isinstance(error, asyncio.CancelledError):
        current = asyncio.current_task()
        if current is None or current.cancelling():
            raise error
        return DriaMagpieError("the iterator of the tasks, or on_turn, cancelled itself")
    return error


async def _each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item, None]:
    if isinstance(items, AsyncGenerator):
        async with aclosing(items) as generator:
            async for item in generator:
                yield item
    elif isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    elif isinstance(items, Iterable):
        for item in items:
            # A slow iterator must not keep the answers waiting that have come meanwhile.
            await asyncio.sleep(0)
            yield item
    else:
        raise InvalidInputError(f"stream takes an iterable of tasks, not {type(items).__name__}")


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
