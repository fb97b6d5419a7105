"""The stream of results: kept until their clients have them, and somewhat longer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from dria_magpie.network.broker import Broker, SubjectTakenError
from dria_magpie.network.hub.job import Address
from dria_magpie.network.hub.prefix import Prefix
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.hub.tasks import Tasks

STREAM = "RESULTS"
# Seconds. That a task is deleted is on the broker's disk two minutes later; until then its result
# alone keeps it from being run again after a power cut. Of fast networks, so many are enough.
LINGER, MOST_LINGERING = 150.0, 10_000


class _Kept(NamedTuple):
    """A result that is kept.

    Attributes:
        seq: its place.
        lane: the queue of its task.
        task: the task's place there.
    """

    seq: int
    lane: tuple[str, str]
    task: int


class _Leaving(NamedTuple):
    """A result that is to be deleted.

    Attributes:
        due: when, on the clock that nobody sets.
        run: client and run.
        seq: its place.
        with_older: all older ones of the run, too.
    """

    due: float
    run: tuple[str, str]
    seq: int
    with_older: bool


@dataclass(slots=True)
class _Run:
    """Results of a client's run, as far as this hub has kept them."""

    prefix: Prefix = field(default_factory=Prefix)
    kept: dict[str, _Kept] = field(default_factory=dict)


class Results:
    """Keeps results, tells clients of them, and deletes them once they were collected.

    Args:
        broker: the hub's connection.
        streams: the broker's streams.
        tasks: what results were made of.
    """

    def __init__(self, broker: Broker, streams: Streams, tasks: Tasks) -> None:
        self._broker = broker
        self._streams = streams
        self._tasks = tasks
        self._runs: dict[tuple[str, str], _Run] = {}
        self._leaving: deque[_Leaving] = deque()

    async def keep(self, address: Address, payload: bytes, task: int) -> None:
        """Keep the result of the task at a place; its client hears of it.

        Raises:
            NetworkError: the broker did not keep it.
        """
        try:
            seq = await self._broker.store(address.result, payload)
        except SubjectTakenError:
            return  # a hub before this one got so far
        run = self._runs.setdefault((address.client, address.run), _Run())
        run.prefix.add(seq)
        run.kept[address.id] = _Kept(seq, address.lane, task)

    async def has(self, address: Address) -> bool:
        """Tell whether a task has its result."""
        return await self._streams.read_last(STREAM, address.result) is not None

    async def tell(self, name: str) -> bool:
        """Send a result to its client once more; tell whether there is one.

        Args:
            name: client, run and id, with dots between.
        """
        found = await self._streams.read_last(STREAM, f"result.{name}")
        if found:
            await self._broker.publish(f"told.{name}", found.payload)
        return found is not None

    async def drop(self, client: str, run: str, name: str) -> None:
        """Delete a result that was collected, some time after its task."""
        known = self._runs.get((client, run))
        kept = known.kept.pop(name, None) if known else None
        if kept:
            # An older task that goes on may hold it back, and without its result it is run again.
            await self._tasks.delete_now(kept.lane, kept.task)
            self._leave((client, run), kept.seq)
        elif found := await self._streams.read_last(STREAM, f"result.{client}.{run}.{name}"):
            self._leave((client, run), found.seq)

    async def drop_run(self, client: str, run: str) -> None:
        """Delete all results of a run, some time after their tasks."""
        known = self._runs.get((client, run))
        for name in list(known.kept) if known else ():
            await self.drop(client, run, name)
        # Those that a hub before this one has kept, and no later ones
        self._leave((client, run), await self._streams.last(STREAM), with_older=True)

    def _leave(self, run: tuple[str, str], seq: int, *, with_older: bool = False) -> None:
        self._leaving.append(_Leaving(monotonic() + LINGER, run, seq, with_older))

    async def write(self) -> None:
        """Delete what was dropped long enough ago."""
        now = monotonic()
        while self._leaving:
            if self._leaving[0].due > now and len(self._leaving) <= MOST_LINGERING:
                break
            await self._delete(self._leaving.popleft())
        for (client, run), known in list(self._runs.items()):
            await self._streams.cut(STREAM, f"result.{client}.{run}.*", known.prefix.take())
            if known.prefix.is_empty:
                del self._runs[client, run]

    async def _delete(self, leaving: _Leaving) -> None:
        known = self._runs.get(leaving.run)
        if leaving.with_older:
            subject = ".".join(["result", *leaving.run, "*"])
            await self._streams.purge_below(STREAM, subject, leaving.seq + 1)
        elif known is None or not known.prefix.finish(leaving.seq):
            await self._streams.erase(STREAM, leaving.seq)
