"""Rows through a client, side by side, and out again in their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

from dria_magpie.client import Dria
from dria_magpie.client.stream import Stream
from dria_magpie.errors import DriaMagpieError, NoNodeError, UnsupportedError
from dria_magpie.magpie.open_turns import OpenTurns
from dria_magpie.models import Task, TaskResult

Given = TypeVar("Given")
Item = TypeVar("Item")
# Rows that wait for an earlier one take room, and no slot must stand idle for it.
_ROOM = 4


async def map_items(
    function: Callable[[Given], Item], items: Iterable[Given] | AsyncIterable[Given]
) -> AsyncGenerator[Item, None]:
    """Give the function's value for each item, as they are asked for."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield function(item)
    else:
        for item in items:
            yield function(item)


async def run_in_order(
    items: Iterable[Item] | AsyncIterable[Item],
    dria: Dria,
    task_of: Callable[[Item], Task],
    *,
    is_special: Callable[[Item], bool] = lambda _: False,
) -> AsyncGenerator[tuple[Item, TaskResult], None]:
    """Run a task for each item, and give item and result in the order of the items.

    Args:
        items: read only as far as they are worked on. What reading them raises is raised when
            the results before it have been given.
        dria: runs the tasks.
        task_of: gives an item's task.
        is_special: tells whether an item asks for what others do not, so that an engine which
            cannot do it may do the others.

    Raises:
        NoNodeError: nobody serves the model.
        UnsupportedError: the engine cannot do it, for any row.
    """
    turns: OpenTurns | None = None

    async def run(item: Item) -> tuple[Item, TaskResult]:
        nonlocal turns
        task = task_of(item)
        try:
            return item, await dria.execute(task)
        except DriaMagpieError as error:
            if error.result is None or isinstance(error, NoNodeError):
                raise
            if isinstance(error, UnsupportedError):
                if not is_special(item):
                    raise
                turns = turns or OpenTurns(dria, task.models)
                await turns.check()
            return item, error.result

    slots = sum(node.slots for node in await dria.nodes())
    stream: Stream[Item, tuple[Item, TaskResult]]
    stream = Stream(items, run, _ROOM * slots, ordered=True)
    async with aclosing(stream.results()) as results:
        async for _, pair in results:
            yield pair
