"""The queues: tasks are read from the broker only as fast as nodes take them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dria_magpie.errors import DriaMagpieError, NetworkError
from dria_magpie.network.broker import Delivery
from dria_magpie.network.hub.board import Board, LaneKey
from dria_magpie.network.hub.dispatcher import Dispatcher
from dria_magpie.network.hub.job import Address, Job
from dria_magpie.network.hub.ledger import Lane, Ledger
from dria_magpie.network.hub.pace import Pace
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.records import Record

logger = logging.getLogger(__name__)
AT_HAND = 16
# Of one client; each queue has readers and tasks of its own.
MOST_LANES = 32
MOST_BYTES_AT_HAND = 8 * 2**20
_READERS = _AT_ONCE = 4
_POLL = 20.0
_PAUSE = 0.3
_REFUSED = 0.1


class _Room:
    """Room for tasks of a queue at hand, given away for some at once: each order costs time."""

    def __init__(self) -> None:
        self._parts = asyncio.Semaphore(AT_HAND // _AT_ONCE)
        self._rest = 0

    async def take(self) -> None:
        """Wait for room for as many tasks as are read at once."""
        await self._parts.acquire()

    def give(self, tasks: int) -> None:
        """Note that there is room for more."""
        self._rest += tasks
        while self._rest >= _AT_ONCE:
            self._rest -= _AT_ONCE
            self._parts.release()


@dataclass(slots=True)
class _Reader:
    task: asyncio.Task[None]
    room: _Room = field(default_factory=_Room)


class Lanes:
    """Reads every client's queues side by side, and keeps a few tasks of each at hand.

    Args:
        streams: the broker's streams.
        ledger: knows the queues, and which tasks have their result.
        board: knows what is at hand.
        dispatcher: is given the tasks.
        pace: of reading what clients hand in.
    """

    def __init__(
        self,
        streams: Streams,
        ledger: Ledger,
        board: Board,
        dispatcher: Dispatcher,
        pace: Pace,
    ) -> None:
        self._streams = streams
        self._ledger = ledger
        self._board = board
        self._dispatcher = dispatcher
        self._pace = pace
        self._readers: dict[LaneKey, _Reader] = {}
        self._broken = asyncio.Event()

    async def load(self) -> None:
        """Begin to read the queues that an earlier hub knew."""
        async for lane in self._ledger.lanes():
            self._open(lane)

    async def open(self, lane: Lane) -> bool:
        """Begin to read a queue, if nobody does; tell whether it is read.

        A client that has many is asked to use those; one of them that is empty makes room.
        """
        if (lane.client, lane.route) not in self._readers:
            mine = [key for key in self._readers if key[0] == lane.client]
            if len(mine) >= MOST_LANES and not await self._close_one(mine):
                return False
            await self._ledger.keep_lane(lane)
            self._open(lane)
        return True

    async def _close_one(self, keys: list[LaneKey]) -> bool:
        waiting = self._board.waiting()
        for key in keys:
            if key in waiting or await self._streams.count_left("TASKS", _name(key)):
                continue
            if reader := self._readers.pop(key, None):
                reader.task.cancel()
                await asyncio.gather(reader.task, return_exceptions=True)
                await self._ledger.drop_lane(Lane(*key))
                return True
        return False

    def make_room(self, key: LaneKey) -> None:
        """Note that a task of a queue has left for a node."""
        reader = self._readers.get(key)
        if reader:
            reader.room.give(1)

    def read_anew(self) -> None:
        """Read every queue from its start, as the broker was away and may have forgotten who reads.

        What was asked of it before is never answered.
        """
        self._broken.set()
        self._broken = asyncio.Event()

    async def count(self) -> dict[LaneKey, int]:
        """Give how many tasks of each queue the hub has not read yet."""
        counts = {}
        for key in list(self._readers):
            try:
                counts[key] = await self._streams.count_left("TASKS", _name(key))
            except NetworkError:
                counts[key] = 0
        return counts

    async def aclose(self) -> None:
        """Stop reading."""
        tasks = [reader.task for reader in self._readers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _open(self, lane: Lane) -> None:
        key = (lane.client, lane.route)
        if key not in self._readers:
            self._readers[key] = _Reader(asyncio.create_task(self._read(lane)))

    async def _read(self, lane: Lane) -> None:
        key = (lane.client, lane.route)
        while True:
            try:
                await self._read_on(lane, self._readers[key].room)
            except NetworkError as error:
                context = {"action": "queue_broken", "client": lane.client}
                logger.info("a queue is read again from its start: %s", error, extra=context)
            except Exception:
                logger.exception("a queue cannot be read", extra={"action": "queue_broken"})
            await asyncio.sleep(_PAUSE)

    async def _read_on(self, lane: Lane, room: _Room) -> None:
        """Read a queue from its start until the broker forgets who reads."""
        broken = self._broken
        await self._ledger.begin_lane(lane)
        # What is in the stream now may have its result, as nobody waits for a task to be erased.
        doubtful = await self._streams.last("TASKS")
        await self._streams.make_consumer(
            "TASKS",
            _name((lane.client, lane.route)),
            filter_subject=lane.subject,
            ack_policy="none",
            mem_storage=True,
            inactive_threshold=int(3 * _POLL * 1e9),
        )
        pulls = [asyncio.create_task(self._pull(lane, room, doubtful)) for _ in range(_READERS)]
        pulls.append(asyncio.create_task(_fail_once(broken)))
        try:
            await asyncio.gather(*pulls)
        finally:
            for pull in pulls:
                pull.cancel()
            await asyncio.gather(*pulls, return_exceptions=True)

    async def _pull(self, lane: Lane, room: _Room, doubtful: int) -> None:
        reader = await self._streams.reader("TASKS", _name((lane.client, lane.route)))
        try:
            while True:
                await room.take()
                kept = 0
                try:
                    await self._wait_for_room(lane.client)
                    async with aclosing(reader.pull(_AT_ONCE, _POLL)) as deliveries:
                        async for found in deliveries:
                            kept += await _finish(self._take(lane, found, doubtful))
                finally:
                    room.give(_AT_ONCE - kept)
        finally:
            await reader.aclose()

    async def _wait_for_room(self, client: str) -> None:
        """Wait until the tasks of a client that are at hand are not too large."""
        while self._board.weigh(client) > MOST_BYTES_AT_HAND:  # noqa: ASYNC110 - it is seldom
            await asyncio.sleep(_PAUSE)

    async def _take(self, lane: Lane, found: Delivery, doubtful: int) -> bool:
        """Hand a task to the dispatcher; tell whether it takes room there."""
        # At once: what is not noted goes with later ones that are done with.
        self._ledger.keep_task(lane, found.seq)
        if self._board.has(found.seq):
            return False
        try:
            client = Address.of(found.subject).client
            read = partial(Job.of, found.seq, found.subject, found.payload)
            job = await self._pace.spend(client, read)
        except (DriaMagpieError, ValueError) as error:
            await self._refuse(lane, found, error)
            return False
        if self._board.has(found.seq):
            return False
        if (job.order.again or found.seq <= doubtful) and await self._ledger.is_finished(job):
            await self._ledger.announce(job)
            return False
        if found.seq <= doubtful:
            await self._ledger.recall(job)
        await self._dispatcher.add(job)
        return True

    async def _refuse(self, lane: Lane, found: Delivery, error: Exception) -> None:
        """End a task that is none."""
        logger.info("a task is none: %s", error, extra={"action": "task_refused"})
        address = Address.of(found.subject)
        kind = type(error).__name__ if isinstance(error, DriaMagpieError) else "StateError"
        head = {"error": [kind, str(error)[:2000]], "losses": []}
        await self._ledger.keep_result(address, head, found.payload, Record())
        await self._ledger.delete_task((lane.client, lane.route), found.seq)
        # Who hands in such things hands in many.
        await self._pace.rest(address.client, _REFUSED)


async def _fail_once(broken: asyncio.Event) -> None:
    await broken.wait()
    raise NetworkError("the connection to the broker was lost and made again")


async def _finish(work: Coroutine[Any, Any, bool]) -> bool:
    """Do something wholly, though it be cancelled: half of it would be forgotten tasks."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _name(key: LaneKey) -> str:
    # Neither part can have this sign, so that no client's queue has the name of another's.
    return "=".join(key)
