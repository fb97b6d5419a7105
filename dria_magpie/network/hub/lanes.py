"""The queues: tasks are read from the broker only as fast as nodes take them."""

from __future__ import annotations

import asyncio

from dria_magpie.errors import NetworkError
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.dispatcher import Dispatcher
from dria_magpie.network.hub.job import LaneKey
from dria_magpie.network.hub.lane_reader import HubParts, LaneReader, name_consumer
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.hub.tasks import STREAM as TASKS
from dria_magpie.network.hub.tasks import Lane
from dria_magpie.network.pace import Pace

# Of one client; each queue has readers and tasks of its own.
MOST_LANES = 32


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
        self._parts = HubParts(streams, ledger, board, dispatcher, pace)
        self._readers: dict[LaneKey, LaneReader] = {}

    async def load(self) -> None:
        """Begin to read the queues that an earlier hub knew."""
        async for lane in self._ledger.lanes():
            self._open(lane)

    async def open(self, lane: Lane) -> bool:
        """Begin to read a queue, if nobody does; tell whether it is read.

        A client that has many is asked to use those; one of them that is empty makes room.
        """
        if lane.key not in self._readers:
            mine = [key for key in self._readers if key[0] == lane.client]
            if len(mine) >= MOST_LANES and not await self._close_one(mine):
                return False
            await self._ledger.keep_lane(lane)
            self._open(lane)
        return True

    async def _close_one(self, keys: list[LaneKey]) -> bool:
        waiting = self._board.waiting()
        for key in keys:
            if key in waiting or await self._streams.count_left(TASKS, name_consumer(key)):
                continue
            if key in self._readers and not self._readers[key].is_idle:
                continue
            if reader := self._readers.pop(key, None):
                await reader.aclose()
                await self._ledger.drop_lane(Lane(*key))
                return True
        return False

    def make_room(self, key: LaneKey) -> None:
        """Note that a task of a queue has left for a node."""
        reader = self._readers.get(key)
        if reader:
            reader.make_room()

    def withdraw(self, client: str, result: str) -> None:
        """Forget a client's task, by its result's subject, that has come but is not begun."""
        for key, reader in self._readers.items():
            if key[0] == client:
                reader.withdraw(result)

    def read_anew(self) -> None:
        """Read every queue from its start, as the broker was away and may have forgotten who reads.

        What was asked of it before is never answered.
        """
        for reader in self._readers.values():
            reader.read_anew()

    async def count(self) -> dict[LaneKey, int]:
        """Give how many tasks of each queue the hub has not read yet."""
        counts = {}
        for key in list(self._readers):
            try:
                counts[key] = await self._streams.count_left(TASKS, name_consumer(key))
            except NetworkError:
                counts[key] = 0
        return counts

    async def aclose(self) -> None:
        """Stop reading."""
        await asyncio.gather(*(reader.aclose() for reader in self._readers.values()))

    def _open(self, lane: Lane) -> None:
        if lane.key not in self._readers:
            self._readers[lane.key] = LaneReader(lane, self._parts)
