"""What the hub writes down, so that it may die at any line."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dria_magpie.errors import DriaMagpieError, StateError
from dria_magpie.network.broker import Broker, SubjectTakenError
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.envelope import join_parts
from dria_magpie.network.hub.job import Address, Job
from dria_magpie.network.hub.prefix import Cut, Prefix
from dria_magpie.network.hub.reputation import Reputation
from dria_magpie.network.hub.stream_table import STREAMS
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.record import Record

logger = logging.getLogger(__name__)


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
    def key(self) -> tuple[str, str]:
        """Both."""
        return self.client, self.route

    @property
    def subject(self) -> str:
        """The subject of its tasks, with wildcards."""
        return f"task.{self.client}.{self.route}.>"


@dataclass(slots=True)
class _Run:
    """Results of a client's run that it has not collected, by the tasks' ids."""

    prefix: Prefix = field(default_factory=Prefix)
    seqs: dict[str, int] = field(default_factory=dict)


class Ledger:
    """Writes down who works on what, and reads it back.

    Messages of one connection are stored in their order, so whoever was given a task was noted
    before, and nobody has to wait for the disk.
    """

    def __init__(self, broker: Broker, streams: Streams) -> None:
        self._broker = broker
        self._streams = streams
        self._lanes: dict[tuple[str, str], Prefix] = {}
        self._runs: dict[tuple[str, str], _Run] = {}

    async def prepare(self) -> None:
        """Make the streams."""
        for config in STREAMS:
            await self._streams.make_stream(**{"storage": "file", "num_replicas": 1, **config})

    async def note(self, job: Job) -> None:
        """Write down who works on a task."""
        await self._broker.publish(f"note.{job.seq}", job.note())

    async def keep_record(self, job: Job) -> None:
        """Write down what nodes made of a task so far."""
        await self._broker.publish(f"hub.record.{job.seq}", job.record.to_bytes())

    async def finish(self, job: Job, head: dict[str, Any], record: Record) -> None:
        """Keep a result, then forget the task.

        Raises:
            NetworkError: the broker did not keep it.
        """
        await self.keep_result(job.address, head, job.payload, record)
        await self.forget(job)

    async def keep_result(
        self, address: Address, head: dict[str, Any], order: bytes, record: Record
    ) -> None:
        """Keep a result with its task; its client hears of it.

        Raises:
            NetworkError: the broker did not keep it.
        """
        try:
            payload = join_parts(head, order, record.to_bytes())
            seq = await self._broker.store(address.result, payload)
        except SubjectTakenError:
            return  # a hub before this one got so far
        run = self._runs.setdefault((address.client, address.run), _Run())
        run.prefix.add(seq)
        run.seqs[address.id] = seq

    async def announce(self, job: Job) -> None:
        """Tell of a result that is there, and take its task out of the queue."""
        await self.tell(job.address.result.removeprefix("result."))
        await self.forget(job)

    async def tell(self, name: str) -> bool:
        """Send a result to its client once more; tell whether there is one.

        Args:
            name: client, run and id, with dots between.
        """
        found = await self._streams.read_last("RESULTS", f"result.{name}")
        if found:
            await self._broker.publish(f"told.{name}", found.payload)
        return found is not None

    async def drop_result(self, client: str, run: str, name: str) -> None:
        """Delete a result that was collected."""
        kept = self._runs.get((client, run))
        seq = kept.seqs.pop(name, None) if kept else None
        if kept is None or seq is None or not kept.prefix.finish(seq):
            await self._streams.purge("RESULTS", f"result.{client}.{run}.{name}")

    async def drop_run(self, client: str, run: str) -> None:
        """Delete all results of a run."""
        self._runs.pop((client, run), None)
        await self._streams.purge("RESULTS", f"result.{client}.{run}.*")

    async def is_queued(self, subject: str) -> bool:
        """Tell whether a task is in the queue."""
        return await self._streams.read_last("TASKS", subject) is not None

    async def unqueue(self, subject: str) -> None:
        """Take tasks out of the queue."""
        await self._streams.clear("TASKS", subject)

    async def begin_lane(self, lane: Lane) -> None:
        """Note that a queue is read from its start, as some of its tasks may not have been seen."""
        await self._end_lane(lane)
        self._lanes[lane.key] = Prefix()

    async def _end_lane(self, lane: Lane) -> None:
        prefix = self._lanes.pop(lane.key, None)
        for seq in prefix.leave() if prefix else ():
            await self._streams.erase("TASKS", seq)

    def keep_task(self, lane: Lane, seq: int) -> None:
        """Note that a task has come from its queue, before anything is done with it."""
        prefix = self._lanes.get(lane.key)
        if prefix:
            prefix.add(seq)

    async def delete_task(self, lane: tuple[str, str], seq: int) -> None:
        """Take a task out of its queue."""
        prefix = self._lanes.get(lane)
        if prefix is None or not prefix.finish(seq):
            await self._streams.erase("TASKS", seq)

    async def forget(self, job: Job) -> None:
        """Take a task out of the queue, with all that was written down of it."""
        await self.delete_task(job.address.lane, job.seq)
        if job.record.seals:
            await self._streams.purge("HUB", f"hub.record.{job.seq}")

    async def drop(self, job: Job) -> None:
        """Forget a task that has no result: at once, or another hub would take it up."""
        await self._streams.erase("TASKS", job.seq)
        await self._streams.purge("NOTES", f"note.{job.seq}")
        await self.forget(job)

    async def write(self) -> None:
        """Delete what is done with."""
        for (client, route), prefix in list(self._lanes.items()):
            await self._delete("TASKS", Lane(client, route).subject, prefix.take())
        for (client, run), kept in list(self._runs.items()):
            await self._delete("RESULTS", f"result.{client}.{run}.*", kept.prefix.take())
            if not kept.seqs:
                del self._runs[client, run]

    async def _delete(self, stream: str, subject: str, cut: Cut) -> None:
        if cut.below:
            await self._streams.purge_below(stream, subject, cut.below)
        for seq in cut.single:
            await self._streams.erase(stream, seq)

    async def is_finished(self, job: Job) -> bool:
        """Tell whether a task has its result already."""
        return await self._streams.read_last("RESULTS", job.address.result) is not None

    async def recall(self, job: Job) -> None:
        """Give a task what nodes made of it, should nobody know any more who works on it."""
        kept = await self._streams.read_last("HUB", f"hub.record.{job.seq}")
        if kept:
            with suppress(StateError):
                job.record = Record.read(kept.payload)

    async def jobs(self) -> AsyncIterator[Job]:
        """Give the tasks that an earlier hub had assigned."""
        async for note in self._each("NOTES", "note.*"):
            seq = int(note.subject.rpartition(".")[2])
            task = await self._streams.read_at("TASKS", seq)
            kept = await self._streams.read_last("HUB", f"hub.record.{seq}")
            try:
                if task is None:
                    raise StateError("its task is gone")
                job = Job.of(seq, task.subject, task.payload)
                job.take_up(note.payload, Record.read(kept.payload) if kept else Record())
            except DriaMagpieError as error:
                context = {"action": "note_void", "seq": seq}
                logger.info("a note counts no more: %s", error, extra=context)
                continue
            if await self.is_finished(job):
                await self.forget(job)
            else:
                yield job

    async def keep_lane(self, lane: Lane) -> None:
        """Write down that a client has a queue."""
        await self._broker.store(f"hub.lane.{lane.client}.{lane.route}", b"{}")

    async def drop_lane(self, lane: Lane) -> None:
        """Write down that a client has a queue no more."""
        await self._end_lane(lane)
        await self._streams.purge("HUB", f"hub.lane.{lane.client}.{lane.route}")

    async def lanes(self) -> AsyncIterator[Lane]:
        """Give the queues that clients have."""
        async for note in self._each("HUB", "hub.lane.>"):
            yield Lane(*note.subject.split(".")[2:4])

    async def keep_reputation(self, address: str, reputation: Reputation) -> None:
        """Write down what a node has earned."""
        payload = json.dumps(reputation.to_dict()).encode()
        await self._broker.publish(f"hub.node.{address}", payload)

    async def reputations(self) -> AsyncIterator[tuple[str, Reputation]]:
        """Give what nodes have earned, by address."""
        async for note in self._each("HUB", "hub.node.*"):
            try:
                yield (
                    note.subject.rpartition(".")[2],
                    Reputation.from_dict(json.loads(note.payload)),
                )
            except (ValueError, StateError):
                await self._streams.purge("HUB", note.subject)

    async def _each(self, stream: str, subject: str) -> AsyncIterator[Delivery]:
        seq = 1
        while found := await self._streams.read_after(stream, subject, seq):
            yield found
            seq = found.seq + 1
