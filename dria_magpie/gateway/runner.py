"""Keeps tasks under way: as many as the network has room for, each key's in turn."""

from __future__ import annotations

import asyncio
import logging

from dria_magpie.gateway.defects import locate
from dria_magpie.gateway.desk import Desk
from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.supply import Supply
from dria_magpie.gateway.worker import Worker

logger = logging.getLogger(__name__)


class Runner:
    """Keeps as many tasks under way as the network has room for.

    Args:
        desk: gives tasks.
        supply: says how much room there is.
        worker: runs a task.
    """

    def __init__(self, desk: Desk, supply: Supply, worker: Worker) -> None:
        self._desk = desk
        self._supply = supply
        self._worker = worker
        self._running: dict[asyncio.Task[None], KeyQueue] = {}

    async def run(self) -> None:
        """Run tasks as they come, for ever."""
        while True:
            await self._supply.is_up.wait()
            self._desk.news.clear()
            while len(self._running) < self._supply.room and (found := self._desk.next()):
                self._begin(*found)
            await self._desk.news.wait()

    def cancel(self, queue: KeyQueue) -> None:
        """Give up what runs, or is to run again, for a key."""
        self._worker.forget(queue)
        for task, owner in self._running.items():
            if owner is queue:
                task.cancel()

    async def aclose(self, grace: float) -> None:
        """End within so many seconds; what is unfinished stays in the store."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=grace)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _begin(self, queue: KeyQueue, entry: Entry) -> None:
        task = asyncio.create_task(self._run(queue, entry))
        self._running[task] = queue
        task.add_done_callback(self._end)

    async def _run(self, queue: KeyQueue, entry: Entry) -> None:
        delay = await self._worker.run(queue, entry)
        if delay is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(delay, lambda: self._desk.put(queue, entry, first=True))

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._desk.news.set()
        if not task.cancelled() and (error := task.exception()):
            context = {"action": "task_crashed"}
            logger.error("a task's run broke off: %s", locate(error), extra=context)
