"""The stream of tasks: what has come from it, and what is done with and to be deleted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from dria_magpie.network.hub.job import LaneKey
from dria_magpie.network.hub.prefix import Prefix
from dria_magpie.network.hub.streams import Streams

STREAM = "TASKS"


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue: the tasks of one client that need the same models.

    Attributes:
        client: the client's token.
        route: the name that the client gave it.
    """

    client: str
    route: str

    @property
    def key(self) -> LaneKey:
        """Both."""
        return self.client, self.route

    @property
    def subject(self) -> str:
        """The subject of its tasks, with wildcards."""
        return f"task.{self.client}.{self.route}.>"


class Tasks:
    """Deletes tasks that are done with: many at once, where none is between that is needed."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._lanes: dict[LaneKey, Prefix] = {}
        self._begun: Counter[LaneKey] = Counter()

    def begin(self, lane: Lane) -> None:
        """Note that a queue is read from its start, as some of its tasks may not have been seen.

        What was done with is found to have its result.
        """
        self._lanes[lane.key] = Prefix()
        self._begun[lane.key] += 1

    def forget(self) -> None:
        """Forget all places, as the broker may give them to other tasks."""
        for lane in self._lanes:
            self._begun[lane] += 1
        self._lanes.clear()

    async def end(self, lane: Lane) -> None:
        """Delete what is done with in a queue that is read no more."""
        prefix = self._lanes.pop(lane.key, None)
        self._begun.pop(lane.key, None)
        for seq in prefix.leave() if prefix else ():
            await self._streams.erase(STREAM, seq)

    def add(self, lane: Lane, seq: int) -> None:
        """Note that a task has come from its queue, before anything is done with it."""
        prefix = self._lanes.get(lane.key)
        if prefix:
            prefix.add(seq)

    async def finish(self, lane: LaneKey, seq: int) -> None:
        """Take a task that is done with out of its queue, soon."""
        prefix = self._lanes.get(lane)
        if prefix is None or not prefix.finish(seq):
            await self._streams.erase(STREAM, seq)

    def reading(self, lane: LaneKey) -> int:
        """Give which reading of a queue this is; places that an earlier one knew count no more."""
        return self._begun[lane]

    async def erase_finished(self, lane: LaneKey, seq: int) -> None:
        """Take a task out of its queue now for which `finish` was called, if it is still there."""
        prefix = self._lanes.get(lane)
        if prefix and prefix.take_single(seq):
            await self._streams.erase(STREAM, seq)

    async def purge(self, subject: str) -> None:
        """Take tasks out of the queue, without waiting for it."""
        await self._streams.purge(STREAM, subject)

    async def has(self, subject: str) -> bool:
        """Tell whether a task is in the queue."""
        return await self._streams.read_last(STREAM, subject) is not None

    async def clear(self, subject: str) -> None:
        """Take tasks out of the queue at once; what was on its way to a reader is there then."""
        await self._streams.clear(STREAM, subject)

    async def write(self) -> None:
        """Delete what is done with."""
        for (client, route), prefix in list(self._lanes.items()):
            await self._streams.cut(STREAM, Lane(client, route).subject, prefix.take())
