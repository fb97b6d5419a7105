"""What the hub writes down, so that it may die at any line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dria_magpie.errors import DriaMagpieError, StateError
from dria_magpie.network.broker import Broker, Delivery, SubjectTakenError
from dria_magpie.network.hub.job import Address, Job
from dria_magpie.network.hub.reputation import Reputation
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.records import Record, join_parts

WEEK = 7 * 24 * 3600
_ONE = {"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True}
STREAMS: tuple[dict[str, Any], ...] = (
    # One message a task, so that a task that is handed in twice is one.
    {"name": "TASKS", "subjects": ["task.>"], "allow_direct": True, **_ONE},
    # What nodes hand in. The hub reads at its own pace; who floods fills only what is his own.
    {
        "name": "NODES",
        "subjects": ["node.>"],
        "retention": "workqueue",
        **_ONE,
        "max_msgs_per_subject": 64,
    },
    {
        "name": "DESK",
        "subjects": ["ask.>", "alive.>"],
        "retention": "workqueue",
        "storage": "memory",
        **_ONE,
        "max_msgs_per_subject": 4,
    },
    # One message a result, so that a result that is found twice is one; clients hear of it.
    {
        "name": "RESULTS",
        "subjects": ["result.>"],
        "allow_direct": True,
        "max_age": WEEK * 10**9,
        "republish": {"src": "result.>", "dest": "told.>"},
        **_ONE,
    },
    {"name": "HUB", "subjects": ["hub.>"], "allow_direct": True, "max_msgs_per_subject": 1},
)


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
    def subject(self) -> str:
        """The subject of its tasks, with wildcards."""
        return f"task.{self.client}.{self.route}.>"


class Ledger:
    """Writes down who works on what, and reads it back.

    Messages of one connection are stored in their order, so whoever was given a task was noted
    before, and nobody has to wait for the disk.
    """

    def __init__(self, broker: Broker, streams: Streams) -> None:
        self._broker = broker
        self._streams = streams

    async def prepare(self) -> None:
        """Make the streams."""
        for config in STREAMS:
            await self._streams.make_stream(**{"storage": "file", "num_replicas": 1, **config})

    async def note(self, job: Job) -> None:
        """Write down who works on a task."""
        await self._broker.publish(f"hub.run.{job.seq}", job.note())

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
        # If there is one, a hub before this one got so far.
        with suppress(SubjectTakenError):
            await self._broker.store(address.result, join_parts(head, order, record.to_bytes()))

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

    async def results_of(self, client: str, run: str) -> list[str]:
        """Give the ids of the tasks of a run that have their results."""
        found = await self._streams.count("RESULTS", f"result.{client}.{run}.*")
        return [subject.rpartition(".")[2] for subject in found]

    async def drop_result(self, subject: str) -> None:
        """Delete results."""
        await self._streams.purge("RESULTS", subject)

    async def is_queued(self, subject: str) -> bool:
        """Tell whether a task is in the queue."""
        return await self._streams.read_last("TASKS", subject) is not None

    async def unqueue(self, subject: str) -> None:
        """Take tasks out of the queue."""
        await self._streams.purge("TASKS", subject)

    async def forget(self, job: Job) -> None:
        """Take a task out of the queue, with all that was written down of it."""
        await self._streams.erase("TASKS", job.seq)
        if job.assigned or job.losses:
            await self._streams.purge("HUB", f"hub.run.{job.seq}")
        if job.record.seals:
            await self._streams.purge("HUB", f"hub.record.{job.seq}")

    async def is_finished(self, job: Job) -> bool:
        """Tell whether a task has its result already."""
        return await self._streams.read_last("RESULTS", job.address.result) is not None

    async def jobs(self) -> AsyncIterator[Job]:
        """Give the tasks that an earlier hub had assigned."""
        async for note in self._each("hub.run.*"):
            seq = int(note.subject.rpartition(".")[2])
            task = await self._streams.read_at("TASKS", seq)
            kept = await self._streams.read_last("HUB", f"hub.record.{seq}")
            try:
                if task is None:
                    raise StateError("its task is gone")
                job = Job.of(seq, task.subject, task.payload)
                job.take_up(note.payload, Record.read(kept.payload) if kept else Record())
            except DriaMagpieError:
                await self._streams.purge("HUB", note.subject)
                continue
            yield job

    async def keep_lane(self, lane: Lane) -> None:
        """Write down that a client has a queue."""
        await self._broker.store(f"hub.lane.{lane.client}.{lane.route}", b"{}")

    async def lanes(self) -> AsyncIterator[Lane]:
        """Give the queues that clients have."""
        async for note in self._each("hub.lane.>"):
            yield Lane(*note.subject.split(".")[2:4])

    async def keep_reputation(self, address: str, reputation: Reputation) -> None:
        """Write down what a node has earned."""
        payload = json.dumps(reputation.to_dict()).encode()
        await self._broker.publish(f"hub.node.{address}", payload)

    async def reputations(self) -> AsyncIterator[tuple[str, Reputation]]:
        """Give what nodes have earned, by address."""
        async for note in self._each("hub.node.*"):
            try:
                yield (
                    note.subject.rpartition(".")[2],
                    Reputation.from_dict(json.loads(note.payload)),
                )
            except (ValueError, StateError):
                await self._streams.purge("HUB", note.subject)

    async def _each(self, subject: str) -> AsyncIterator[Delivery]:
        seq = 1
        while found := await self._streams.read_after("HUB", subject, seq):
            yield found
            seq = found.seq + 1
