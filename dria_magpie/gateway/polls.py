"""Long polls: a client's question for results is answered when there are some."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress

from aiohttp import web

from dria_magpie.errors import StoreError
from dria_magpie.gateway.delivery import Watch, Watches
from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.limits import MOST_POLLS, POLL_SECONDS
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.store import Store

logger = logging.getLogger(__name__)
# For those who are not to wait in the gateway's memory, nor to come again at once.
_SHORT = 0.5


class Polls:
    """Holds polls, and sees to it that what they carry away arrives.

    Args:
        store: has the items.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._watches = Watches()
        self._is_closing = False

    def close(self, queues: tuple[KeyQueue, ...]) -> None:
        """Answer every poll now, and each later one at once."""
        self._is_closing = True
        for queue in queues:
            queue.notify()

    async def settle(self) -> None:
        """Decide what became of the answers that are on their way."""
        await self._watches.settle()

    async def answer(self, request: web.BaseRequest, queue: KeyQueue) -> web.StreamResponse:
        """Answer a poll as soon as there is something, at the latest when its time is over."""
        taken = await self._collect(queue)
        watch = Watch(request)
        handed_over = False
        try:
            if taken and watch.is_gone:
                raise ConnectionResetError("the client is gone")
            response = make_list(await self._read(taken))
            await response.prepare(request)
            await response.write_eof()
            if taken:
                queue.outbox.note_sent(taken, self._loop.time())
                self._watches.begin(watch, self._settle(queue, taken, watch))
                handed_over = True
        finally:
            if not handed_over:
                watch.close()
                await self._put_back(queue, taken)
        return response

    async def _collect(self, queue: KeyQueue) -> tuple[Entry, ...]:
        now = self._loop.time()
        lost = queue.outbox.take_lost(now)
        if lost:
            context = {"action": "results_sent_again", "key": queue.key.name}
            logger.info("%d results go out again", len(lost), extra=context)
            return lost + queue.outbox.take(now)
        crowded = queue.polls >= MOST_POLLS
        end = now + (_SHORT if crowded else POLL_SECONDS)
        queue.polls += 1
        try:
            while not queue.revoked:
                changed = queue.changed
                now = self._loop.time()
                is_last = now >= end or self._is_closing
                taken = () if self._is_closing else queue.outbox.take(now, at_the_end=is_last)
                if taken or is_last:
                    return taken
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(end, queue.outbox.next_change(now) or end)):
                        await changed.wait()
        finally:
            queue.polls -= 1
        raise web.HTTPUnauthorized(reason="this API key was revoked")

    async def _read(self, entries: tuple[Entry, ...]) -> list[str]:
        if not entries:
            return []
        numbers = [entry.number for entry in entries]
        items = await self._store.read_items(numbers)
        return [items[number] for number in numbers if number in items]

    async def _settle(self, queue: KeyQueue, entries: tuple[Entry, ...], watch: Watch) -> None:
        if await watch.outcome() == "received":
            await self._note_delivered(queue, entries)
        else:
            await self._put_back(queue, entries)

    async def _put_back(self, queue: KeyQueue, entries: tuple[Entry, ...]) -> None:
        if entries:
            thought = queue.put_back(entries)
            context = {"action": "results_put_back", "key": queue.key.name}
            logger.info("a connection broke: %d results wait again", len(entries), extra=context)
            await self._keep(thought, None)

    async def _note_delivered(self, queue: KeyQueue, entries: tuple[Entry, ...]) -> None:
        fresh = queue.note_delivered(entries, self._loop.time())
        if fresh:
            await self._keep(fresh, time.time())
            context = {"action": "results_delivered", "key": queue.key.name}
            logger.info("%d results were delivered", len(fresh), extra=context)

    async def _keep(self, entries: tuple[Entry, ...], delivered: float | None) -> None:
        try:
            await self._store.note_delivered([entry.number for entry in entries], delivered)
        except StoreError as error:
            # After a restart they may go out twice, which clients take for one.
            context = {"action": "delivery_not_kept"}
            logger.error("a delivery is not noted: %s", error, extra=context)  # noqa: TRY400


def make_list(results: list[str]) -> web.Response:
    """Give the answer to a GET: the one form that clients read."""
    return web.json_response({"data": {"results": results}}, dumps=_dump)


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
