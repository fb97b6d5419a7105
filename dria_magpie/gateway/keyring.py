"""Which API keys there are now: looked up in memory, and read again and again."""

from __future__ import annotations

import asyncio
import logging
import time

from dria_magpie.errors import StoreError
from dria_magpie.gateway.desk import Desk
from dria_magpie.gateway.keys import digest_of
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.runner import Runner
from dria_magpie.gateway.store import Store

logger = logging.getLogger(__name__)
# A stranger who asks with keys that do not exist has the store read this often, and no more.
_READ_AGAIN = 0.2


class Keyring:
    """Tells whose a request is.

    Args:
        desk: has each key's tasks.
        store: has the keys.
        runner: gives up the tasks of keys that are void.
    """

    def __init__(self, desk: Desk, store: Store, runner: Runner) -> None:
        self._desk = desk
        self._store = store
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._used: dict[int, float] = {}

    async def find(self, key: str | None) -> KeyQueue | None:
        """Give the tasks of a key; None if there is no such key."""
        if not key:
            return None
        digest = digest_of(key)
        queue = self._desk.find(digest)
        if queue is None:
            # It may have been made a moment ago
            await self._read_soon()
            queue = self._desk.find(digest)
        if queue is not None:
            self._used[queue.key.number] = time.time()
        return queue

    async def refresh(self) -> None:
        """See which keys were made and revoked."""
        try:
            keys = await self._store.read_keys()
        except StoreError as error:
            context = {"action": "keys_unreadable"}
            logger.error("keys cannot be read: %s", error, extra=context)  # noqa: TRY400
            return
        for queue in self._desk.update(keys, self._loop.time()):
            self._runner.cancel(queue)
            context = {"action": "key_revoked", "key": queue.key.name}
            logger.info("the key %s is void", queue.key.name, extra=context)

    async def note_used(self) -> None:
        """Keep when keys were last used."""
        used, self._used = self._used, {}
        try:
            await self._store.note_used(used)
        except StoreError as error:
            logger.warning("the use of keys is not kept: %s", error, extra={"action": "not_kept"})

    async def _read_soon(self) -> None:
        """Wait for a read that begins after now; strangers share it, however many they are."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        await asyncio.sleep(self._read_at + _READ_AGAIN - self._loop.time())
        # Who comes from now on waits for the next one: this one may not see its key.
        self._read_at, self._reading = self._loop.time(), None
        await self.refresh()
