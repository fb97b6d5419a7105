"""Reads one queue, some tasks at a time, from its start as often as it must."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from dria_magpie.errors import DriaMagpieError, NetworkError
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.dispatcher import Dispatcher
from dria_magpie.network.hub.job import Address, Job, LaneKey
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.hub.tasks import STREAM as TASKS
from dria_magpie.network.hub.tasks import Lane
from dria_magpie.network.pace import Pace
from dria_magpie.network.record import Record

logger = logging.getLogger(__name__)
AT_HAND = 16
MOST_BYTES_AT_HAND = 8 * 2**20
_READERS = _AT_ONCE = 4
_POLL = 20.0
_PAUSE = 0.3
_REFUSED = 0.1


@dataclass(frozen=True, slots=True)
class HubParts:
    """Whom a queue's reader works with.

    Attributes:
        streams: the broker's streams.
        ledger: knows which tasks have their result.
        board: knows what is at hand.
        dispatcher: is given the tasks.
        pace: of reading what clients hand in.
    """

    streams: Streams
    ledger: Ledger
    board: Board
    dispatcher: Dispatcher
    pace: Pace


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


class LaneReader:
    """Reads a queue until it is closed.

    Args:
        lane: the queue.
        parts: whom it works with.
    """

    def __init__(self, lane: Lane, parts: HubParts) -> None:
        self._lane = lane
        self._with = parts
        self._room = _Room()
        # Results of tasks that have arrived and that the board does not have yet, by place
        self._arrived: dict[int, str] = {}
        self._broken = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    def make_room(self) -> None:
        """Note that a task has left for a node."""
        self._room.give(1)

    def read_anew(self) -> None:
        """Read from the start, as what was asked of the broker before is never answered."""
        self._broken.set()
        self._broken = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether no task has arrived that the board does not have yet."""
        return not self._arrived

    def withdraw(self, result: str) -> None:
        """Forget a task that has arrived, by the subject of its result."""
        for seq in [seq for seq, found in self._arrived.items() if found == result]:
            del self._arrived[seq]

    async def aclose(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                await self._read_on()
            except NetworkError as error:
                context = {"action": "queue_broken", "client": self._lane.client}
                logger.info("a queue is read again from its start: %s", error, extra=context)
            except Exception:
                logger.exception("a queue cannot be read", extra={"action": "queue_broken"})
            await asyncio.sleep(_PAUSE)

    async def _read_on(self) -> None:
        """Read a queue from its start until the broker forgets who reads."""
        lane, broken = self._lane, self._broken
        self._arrived.clear()
        self._with.ledger.tasks.begin(lane)
        # What is in the stream now may have its result, as nobody waits for a task to be erased.
        doubtful = await self._with.streams.last(TASKS)
        await self._with.streams.make_consumer(
            TASKS,
            name_consumer(lane.key),
            filter_subject=lane.subject,
            ack_policy="none",
            mem_storage=True,
            inactive_threshold=int(3 * _POLL * 1e9),
        )
        pulls = [asyncio.create_task(self._pull(doubtful)) for _ in range(_READERS)]
        pulls.append(asyncio.create_task(_fail_once(broken)))
        try:
            await asyncio.gather(*pulls)
        finally:
            for pull in pulls:
                pull.cancel()
            await asyncio.gather(*pulls, return_exceptions=True)

    async def _pull(self, doubtful: int) -> None:
        consumer = name_consumer(self._lane.key)
        reader = await self._with.streams.reader(TASKS, consumer, self._note_arrival)
        try:
            while True:
                await self._room.take()
                begun = 0
                try:
                    await self._wait_for_room()
                    async with aclosing(reader.pull(_AT_ONCE, _POLL)) as deliveries:
                        async for found in deliveries:
                            begun += 1
                            await _finish(self._take(found, doubtful))
                finally:
                    self._room.give(_AT_ONCE - begun)
        finally:
            await reader.aclose()

    def _note_arrival(self, found: Delivery) -> None:
        # At once: what is not noted is deleted with later ones that are done with.
        self._with.ledger.tasks.add(self._lane, found.seq)
        self._arrived[found.seq] = Address.of(found.subject).result

    async def _wait_for_room(self) -> None:
        """Wait until the tasks of a client that are at hand are not too large."""
        while self._with.board.weigh(self._lane.client) > MOST_BYTES_AT_HAND:  # noqa: ASYNC110 - it is seldom
            await asyncio.sleep(_PAUSE)

    async def _take(self, found: Delivery, doubtful: int) -> None:
        """Hand a task to the dispatcher; one that is not handed on takes no room."""
        job = None
        try:
            job = await self._read_task(found, doubtful)
        finally:
            if job is None:
                self._arrived.pop(found.seq, None)
                self._room.give(1)
        if job is not None:
            self._arrived.pop(found.seq, None)
            job.takes_room = True
            await self._with.dispatcher.add(job)

    async def _read_task(self, found: Delivery, doubtful: int) -> Job | None:
        """Give a task that is to be done, if it is one."""
        address, board = Address.of(found.subject), self._with.board
        if board.claim(address, found.seq):
            return None
        is_doubtful = found.seq <= doubtful
        if is_doubtful and await self._is_done(found, address):
            return None
        try:
            read = partial(Job.of, found.seq, found.subject, found.payload)
            job = await self._with.pace.spend(address.client, read)
        except (DriaMagpieError, ValueError) as error:
            await self._refuse(found, error)
            return None
        if board.claim(address, found.seq):
            return None
        if job.order.again and not is_doubtful and await self._is_done(found, address):
            return None
        if is_doubtful:
            await self._with.ledger.recall(job)
        if found.seq not in self._arrived or board.is_closed(address):
            # It was withdrawn meanwhile
            await self._with.ledger.tasks.finish(self._lane.key, found.seq)
            return None
        return job

    async def _is_done(self, found: Delivery, address: Address) -> bool:
        """Tell whether a task has its result, and tell its client, too."""
        ledger = self._with.ledger
        if not await ledger.results.has(address, found.payload):
            return False
        await ledger.announce(address, found.seq)
        return True

    async def _refuse(self, found: Delivery, error: Exception) -> None:
        """End a task that is none."""
        logger.info("a task is none: %s", error, extra={"action": "task_refused"})
        address = Address.of(found.subject)
        kind = type(error).__name__ if isinstance(error, DriaMagpieError) else "StateError"
        head = {"error": [kind, str(error)[:2000]], "losses": []}
        # Without the task: what is none may be large, and is kept for a week.
        await self._with.ledger.results.keep(address, head, b"", Record(), found.seq)
        await self._with.ledger.tasks.finish(self._lane.key, found.seq)
        # Who hands in such things hands in many.
        await self._with.pace.rest(address.client, _REFUSED)


async def _fail_once(broken: asyncio.Event) -> None:
    await broken.wait()
    raise NetworkError("the connection to the broker was lost and made again")


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Do something wholly, though it be cancelled: half of it would be forgotten tasks."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def name_consumer(key: LaneKey) -> str:
    """Give the name of a queue's consumer."""
    # Neither part can have this sign, so that no client's queue has the name of another's.
    return "=".join(key)
