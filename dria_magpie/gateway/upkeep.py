"""What has to be done now and then: keys looked at, old things deleted."""

from __future__ import annotations

import asyncio
import logging

from dria_magpie.errors import StoreError
from dria_magpie.gateway.desk import Desk
from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.keyring import Keyring
from dria_magpie.gateway.limits import KEPT_SECONDS
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.store import Store

logger = logging.getLogger(__name__)
# A key that was revoked works for no longer than this.
_TICK = 0.8
_NOTE_EVERY = 30.0


class Upkeep:
    """Keeps the gateway's memory and disk from growing.

    Args:
        desk: has the tasks.
        store: likewise.
        keyring: has the keys.
    """

    def __init__(self, desk: Desk, store: Store, keyring: Keyring) -> None:
        self._desk = desk
        self._store = store
        self._keyring = keyring
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Do what there is to do, for ever."""
        noted = self._loop.time()
        while True:
            await asyncio.sleep(_TICK)
            await self._keyring.refresh()
            if self._loop.time() - noted > _NOTE_EVERY:
                noted = self._loop.time()
                await self._keyring.note_used()
            for queue in self._desk.queues:
                try:
                    await self._clear(queue)
                except StoreError as error:
                    context = {"action": "not_cleared"}
                    logger.warning("old tasks stay on disk: %s", error, extra=context)

    async def _clear(self, queue: KeyQueue) -> None:
        now = self._loop.time()
        # What stays on disk stays in memory, so that it is tried again the next time.
        outbox = queue.outbox
        await self._store.drop_items([entry.number for entry in outbox.list_settled(now)])
        outbox.note_settled(now)
        await self._drop(queue, outbox.list_forgotten(now))
        outbox.note_forgotten(now)
        uncollected = outbox.list_uncollected(now - KEPT_SECONDS)
        await self._drop(queue, uncollected)
        self._tell(queue, uncollected)

    async def _drop(self, queue: KeyQueue, entries: tuple[Entry, ...]) -> None:
        await self._store.drop_tasks([entry.number for entry in entries])
        for entry in entries:
            queue.remove(entry)

    def _tell(self, queue: KeyQueue, dropped: tuple[Entry, ...]) -> None:
        if dropped:
            context = {"action": "results_dropped", "key": queue.key.name}
            logger.warning(
                "%d results were dropped: nobody asked for them for a day",
                len(dropped),
                extra=context,
            )
