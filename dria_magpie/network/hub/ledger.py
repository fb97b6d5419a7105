"""What the hub writes down, so that it may die at any line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from dria_magpie.errors import DriaMagpieError, StateError
from dria_magpie.network.broker import Broker
from dria_magpie.network.hub.job import Address, Job
from dria_magpie.network.hub.reputation import Reputation
from dria_magpie.network.hub.results import Results
from dria_magpie.network.hub.stream_table import STREAMS
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.hub.tasks import STREAM as TASKS
from dria_magpie.network.hub.tasks import Lane, Tasks
from dria_magpie.network.order import Order
from dria_magpie.network.record import Record

logger = logging.getLogger(__name__)


class Ledger:
    """Writes down who works on what, and reads it back.

    Messages of one connection are stored in their order, so whoever was given a task was noted
    before, and nobody has to wait for the disk.

    Attributes:
        tasks: the stream of tasks.
        results: the stream of results.
    """

    def __init__(self, broker: Broker, streams: Streams) -> None:
        self._broker = broker
        self._streams = streams
        self.tasks = Tasks(streams)
        self.results = Results(broker, streams, self.tasks)

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
        await self.results.keep(job.address, head, job.payload, record, job.seq)
        await self.forget(job)

    async def announce(self, address: Address, seq: int) -> None:
        """Tell of a result that is there, and take its task out of the queue."""
        await self.results.tell(address.result)
        await self.tasks.finish(address.lane, seq)

    async def forget(self, job: Job) -> None:
        """Take a task out of the queue, with all that was written down of it."""
        await self.tasks.finish(job.address.lane, job.seq)
        if job.record.seals:
            await self._streams.purge("HUB", f"hub.record.{job.seq}")

    async def drop(self, job: Job) -> None:
        """Forget a task that has no result: at once, or another hub would take it up."""
        await self._streams.erase(TASKS, job.seq)
        await self._streams.purge("NOTES", f"note.{job.seq}")
        await self.forget(job)

    async def write(self) -> None:
        """Delete what is done with, tasks before their results."""
        await self.tasks.write()
        await self.results.write()

    async def look_for(self, jobs: Sequence[Job]) -> list[bool]:
        """Tell of each task whether it is at its place."""
        found = await asyncio.gather(*(self._streams.read_at(TASKS, job.seq) for job in jobs))
        return [
            task is not None and Address.of(task.subject) == job.address
            for job, task in zip(jobs, found, strict=True)
        ]

    async def recall(self, job: Job) -> None:
        """Give a task what nodes made of it, should nobody know any more who works on it."""
        kept = await self._streams.read_last("HUB", f"hub.record.{job.seq}")
        if kept:
            with suppress(StateError):
                job.record = _read_record(kept.payload, job.order)

    async def jobs(self) -> AsyncIterator[Job]:
        """Give the tasks that an earlier hub had assigned."""
        notes = {}
        first = await self._streams.first(TASKS)
        async with aclosing(self._streams.read_all("NOTES", "note.*")) as found:
            async for note in found:
                seq = int(note.subject.rpartition(".")[2])
                if seq >= first:
                    notes[seq] = note.payload
        for seq, written in notes.items():
            task = await self._streams.read_at(TASKS, seq)
            kept = await self._streams.read_last("HUB", f"hub.record.{seq}")
            try:
                if task is None:
                    raise StateError("its task is gone")
                job = Job.of(seq, task.subject, task.payload)
                record = _read_record(kept.payload, job.order) if kept else Record()
                job.take_up(written, record)
            except DriaMagpieError as error:
                context = {"action": "note_void", "seq": seq}
                logger.info("a note counts no more: %s", error, extra=context)
                continue
            if await self.results.has(job.address, job.payload):
                await self.forget(job)
            else:
                yield job

    async def keep_lane(self, lane: Lane) -> None:
        """Write down that a client has a queue."""
        await self._broker.store(f"hub.lane.{lane.client}.{lane.route}", b"{}")

    async def drop_lane(self, lane: Lane) -> None:
        """Write down that a client has a queue no more."""
        await self.tasks.end(lane)
        await self._streams.purge("HUB", f"hub.lane.{lane.client}.{lane.route}")

    async def lanes(self) -> AsyncIterator[Lane]:
        """Give the queues that clients have."""
        async with aclosing(self._streams.read_all("HUB", "hub.lane.>")) as found:
            async for note in found:
                yield Lane(*note.subject.split(".")[2:4])

    async def keep_reputation(self, address: str, reputation: Reputation) -> None:
        """Write down what a node has earned."""
        payload = json.dumps(reputation.to_dict()).encode()
        await self._broker.publish(f"hub.node.{address}", payload)

    async def reputations(self) -> AsyncIterator[tuple[str, Reputation]]:
        """Give what nodes have earned, by address."""
        async with aclosing(self._streams.read_all("HUB", "hub.node.*")) as found:
            async for note in found:
                address = note.subject.rpartition(".")[2]
                try:
                    yield address, Reputation.from_dict(json.loads(note.payload))
                except (ValueError, StateError):
                    await self._streams.purge("HUB", note.subject)


def _read_record(payload: bytes, order: Order) -> Record:
    """Read what nodes made of a task.

    A broker that lost its last tasks gives their places to others, whose records they are not.
    """
    record = Record.read(payload)
    if not all(record.signer(order, seal) == seal.node for seal in record.seals):
        raise StateError("the record is another task's")
    return record
