"""The stream of results: kept until their clients have them, and somewhat longer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from dria_magpie.errors import NetworkError, StateError
from dria_magpie.network.broker import Broker, SubjectTakenError
from dria_magpie.network.envelope import join_parts, split_parts
from dria_magpie.network.hub.job import Address, LaneKey
from dria_magpie.network.hub.prefix import Prefix
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.hub.tasks import Tasks
from dria_magpie.network.record import Record

STREAM = "RESULTS"
# Seconds. That a task is deleted is on the broker's disk two minutes later; until then its result
# alone keeps it from being run again after a power cut. Of a client that is very fast, so many
# results are enough.
LINGER, MOST_LINGERING = 150.0, 10_000
RunKey = tuple[str, str]


class _Kept(NamedTuple):
    """A result that is kept.

    Attributes:
        seq: its place.
        lane: the queue of its task.
        task: the task's place there,
        reading: in this reading of the queue.
    """

    seq: int
    lane: LaneKey
    task: int
    reading: int


class _Leaving(NamedTuple):
    """A result that was collected, and is to be deleted.

    Attributes:
        due: when, on the clock that nobody sets.
        run: client and run.
        seq: its place.
        with_older: all older ones of the run, too.
    """

    due: float
    run: RunKey
    seq: int
    with_older: bool


@dataclass(slots=True)
class _Run:
    """Results of a client's run.

    Attributes:
        prefix: their places.
        kept: those that nobody has collected, by the tasks' ids.
        first: the place of the first one.
        is_known: there are no others, else each is deleted by itself; None before it was looked.
    """

    first: int
    prefix: Prefix = field(default_factory=Prefix)
    kept: dict[str, _Kept] = field(default_factory=dict)
    is_known: bool | None = None


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
        self._runs: dict[RunKey, _Run] = {}
        # By client and subject, the oldest first
        self._leaving: dict[str, dict[str, _Leaving]] = {}

    async def keep(
        self, address: Address, head: Mapping[str, Any], order: bytes, record: Record, task: int
    ) -> None:
        """Keep the result of the task at a place; its client hears of it.

        Args:
            address: of the task.
            head: how it ended.
            order: the task as it came.
            record: what nodes made of it.
            task: its place.

        Raises:
            NetworkError: the broker did not keep it.
        """
        key = (address.client, address.run)
        if self._is_leaving(address.result):
            # A refusal has no task in it to tell it by.
            if order and await self.has(address, order):
                return  # it was kept, told and collected before the broker could say so
            old = self._leaving[address.client].pop(address.result, None)
            if old:
                await self._streams.erase_now(STREAM, old.seq)
        payload = join_parts(head, order, record.to_bytes())
        try:
            seq = await self._broker.store(address.result, payload)
        except NetworkError as error:
            # It may be there, or comes to be there, at a place that nobody knows.
            if key in self._runs:
                self._runs[key].is_known = False
            if isinstance(error, SubjectTakenError):
                return
            raise
        run = self._runs.setdefault(key, _Run(seq))
        run.prefix.add(seq)
        lane = address.lane
        run.kept[address.id] = _Kept(seq, lane, task, self._tasks.reading(lane))

    async def has(self, address: Address, order: bytes) -> bool:
        """Tell whether a task has its result.

        One that was collected is that of the very same task only: who hands another one in under
        its name wants another one.
        """
        found = await self._streams.read_last(STREAM, address.result)
        if found is None or not self._is_leaving(address.result):
            return found is not None
        with suppress(StateError):
            _, parts = split_parts(found.payload)
            return parts[0] == order
        return False

    async def tell(self, subject: str) -> bool:
        """Send a result to its client once more; tell whether there is one, by its subject."""
        if self._is_leaving(subject):
            return False
        found = await self._streams.read_last(STREAM, subject)
        if found:
            await self._broker.publish(f"told.{subject.removeprefix('result.')}", found.payload)
        return found is not None

    async def drop(self, client: str, run: str, name: str) -> None:
        """Delete a result that was collected, some time after its task."""
        key, subject = (client, run), _subject((client, run), name)
        known = self._runs.get(key)
        kept = known.kept.pop(name, None) if known else None
        seq = kept.seq if kept else 0
        if not kept and not self._is_leaving(subject):
            found = await self._streams.read_last(STREAM, subject)
            seq = found.seq if found else 0
        if not seq:
            return
        # An older task that goes on may hold a task back, which is run again without its result.
        if kept and kept.reading == self._tasks.reading(kept.lane):
            await self._tasks.erase_finished(kept.lane, kept.task)
        else:
            await self._tasks.purge(f"task.{client}.*.{run}.{name}")
        self._leave(key, subject, seq)

    async def drop_run(self, client: str, run: str) -> None:
        """Delete all results of a run, some time after their tasks."""
        key = (client, run)
        known = self._runs.get(key)
        for name in list(known.kept) if known else ():
            await self.drop(client, run, name)
        # Those that a hub before this one has kept, and no later ones
        last = await self._streams.last(STREAM)
        self._leave(key, _subject(key, "*"), last, with_older=True)

    def _leave(self, run: RunKey, subject: str, seq: int, *, with_older: bool = False) -> None:
        leaving = self._leaving.setdefault(run[0], {})
        leaving[subject] = _Leaving(monotonic() + LINGER, run, seq, with_older)

    def _is_leaving(self, subject: str) -> bool:
        return subject in self._leaving.get(subject.split(".")[1], ())

    async def write(self) -> None:
        """Delete what was dropped long enough ago."""
        now = monotonic()
        for leaving in list(self._leaving.values()):
            while leaving:
                subject, first = next(iter(leaving.items()))
                if first.due > now and len(leaving) <= MOST_LINGERING:
                    break
                del leaving[subject]
                await self._delete(subject, first)
        for key, known in list(self._runs.items()):
            if known.is_known is None:
                oldest = await self._streams.read_next(STREAM, _subject(key, "*"), 1)
                known.is_known = oldest is not None and oldest.seq >= known.first
            if known.is_known:
                await self._streams.cut(STREAM, _subject(key, "*"), known.prefix.take())
            else:
                for seq in known.prefix.leave():
                    await self._streams.erase(STREAM, seq)
            if known.prefix.is_empty:
                del self._runs[key]

    async def _delete(self, subject: str, leaving: _Leaving) -> None:
        known = self._runs.get(leaving.run)
        if leaving.with_older:
            await self._streams.purge_below(STREAM, subject, leaving.seq + 1)
        elif known is None or not known.prefix.finish(leaving.seq):
            await self._streams.erase(STREAM, leaving.seq)


def _subject(run: RunKey, name: str) -> str:
    return ".".join(["result", *run, name])
