"""Who works on what: assigns tasks to nodes, and judges what nodes hand in."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

from dria_magpie.errors import NetworkError, StateError
from dria_magpie.network.assignment import LEASE, Assignment, Beat
from dria_magpie.network.broker import Broker
from dria_magpie.network.hub.job import Job
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.placement import Placement, count_others
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.verdict import Loss, LossKind, decide_loss
from dria_magpie.network.records import Record
from dria_magpie.network.verification import Assigned, Checked, check_record

logger = logging.getLogger(__name__)
STALLED_AFTER = 900.0
LaneKey = tuple[str, str]


class Dispatcher:
    """Holds the tasks that were taken from the queue.

    Args:
        ledger: where it is written down who works on what.
        registry: the nodes.
        broker: the way to the nodes.
        lease: seconds until a task goes to another node if its node is silent.
        stalled_after: seconds without a turn until it does though the node is not.
        on_room: called with a queue's key when a task of it has left for a node.
    """

    def __init__(
        self,
        ledger: Ledger,
        registry: Registry,
        broker: Broker,
        *,
        lease: float = LEASE,
        stalled_after: float = STALLED_AFTER,
        on_room: Callable[[LaneKey], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._broker = broker
        self._lease = lease
        self._stalled_after = stalled_after
        self._on_room = on_room
        self._jobs: dict[int, Job] = {}
        self._running: dict[str, Job] = {}
        self._load: Counter[str] = Counter()
        self._waiting: OrderedDict[LaneKey, deque[Job]] = OrderedDict()
        self.reasons: dict[LaneKey, str] = {}

    def has(self, seq: int) -> bool:
        """Tell whether a task is in hand."""
        return seq in self._jobs

    def find(self, result: str) -> Job | None:
        """Give the task with a result's subject, if it is in hand."""
        return next((job for job in self._jobs.values() if job.address.result == result), None)

    def load(self, address: str) -> int:
        """Give how many tasks a node works on."""
        return self._load[address]

    @property
    def running(self) -> int:
        """How many tasks nodes work on."""
        return len(self._running)

    def models(self, lane: LaneKey) -> list[str]:
        """Give the models that tasks of a queue need, as far as one of them waits."""
        jobs = self._waiting.get(lane)
        if not jobs:
            return []
        return [*jobs[0].wanted.models, *sorted(jobs[0].wanted.named)]

    def waiting(self) -> dict[LaneKey, list[Job]]:
        """Give the tasks that wait for a node, by queue."""
        return {lane: list(jobs) for lane, jobs in self._waiting.items()}

    async def add(self, job: Job) -> None:
        """Take a task in hand: one that is new, or one that an earlier hub had assigned."""
        self._jobs[job.seq] = job
        if job.assigned:
            now = time.time()
            job.lease, job.progress = now + self._lease, now
            self._running[job.assigned.nonce] = job
            self._load[job.assigned.node] += 1
            return
        self._waiting.setdefault(job.address.lane, deque()).append(job)
        await self.serve()

    async def serve(self) -> None:
        """Give waiting tasks to free nodes, a task of each queue by turns."""
        leaving: list[Job] = []
        now, moved = time.time(), True
        while moved:
            moved = False
            for lane, jobs in list(self._waiting.items()):
                placement = self._registry.roster.place(jobs[0].wanted, now)
                self.reasons[lane] = placement.reason
                if not placement.node:
                    continue
                moved = True
                leaving.append(self._assign(jobs.popleft(), placement, now))
                if not jobs:
                    del self._waiting[lane], self.reasons[lane]
        for job in leaving:
            await self._send(job)
            self._on_room(job.address.lane)

    def _assign(self, job: Job, placement: Placement, now: float) -> Job:
        job.assigned = Assigned(
            node=placement.node,
            nonce=secrets.token_hex(8),
            model=placement.model,
            before=job.record,
        )
        job.lease, job.progress, job.started = now + self._lease, now, False
        self._running[job.assigned.nonce] = job
        self._load[placement.node] += 1
        self._registry.roster.take(placement.node)
        return job

    async def _send(self, job: Job) -> None:
        who = job.assigned
        if who is None:
            return
        assignment = Assignment(
            nonce=who.nonce, model=who.model, order=job.payload, record=who.before.to_bytes()
        )
        # In this order: a task that somebody works on is noted.
        await self._ledger.note(job)
        await self._broker.publish(f"work.{who.node}", assignment.to_bytes())

    async def beat(self, address: str, beat: Beat) -> None:
        """Hear that a node is there, and what it works on."""
        now = time.time()
        for nonce in beat.running:
            job = self._running.get(nonce)
            if job and job.assigned and job.assigned.node == address:
                job.lease, job.started = now + self._lease, True
            else:
                await self._call_back(address, nonce)
        self._registry.beat(address, beat, now, self._load[address])
        await self.serve()

    async def check_leases(self) -> None:
        """Take tasks back from nodes that are silent, or do not come forward."""
        now = time.time()
        for job in list(self._running.values()):
            who = job.assigned
            if who is None or job.ending:
                continue
            if job.lease < now:
                said = f"not heard of for {self._lease:.0f} s"
                await self._lose(job, "lost" if job.started else "never started", said)
            elif now - job.progress > self._stalled_after:
                await self._call_back(who.node, who.nonce)
                await self._lose(job, "stalled", f"no turn for {self._stalled_after:.0f} s")
        await self.serve()

    async def take(self, address: str, payload: bytes) -> None:
        """Judge what a node hands in.

        Raises:
            NetworkError: a result could not be kept; it is to be handed in again.
        """
        try:
            record = Record.read(payload)
            nonce = record.seals[-1].nonce if record.seals else ""
        except StateError as error:
            self._mark_invalid(address, str(error))
            return
        job = self._running.get(nonce)
        if job is None or job.assigned is None or job.ending:
            logger.info("a result came too late", extra={"action": "late", "node": address})
            return
        if job.assigned.node != address:
            self._mark_invalid(address, "it answers for another node")
            return
        try:
            checked = check_record(job.order, job.workflow, record, job.assigned)
        except StateError as error:
            await self._call_back(address, nonce)
            await self._lose(job, "invalid", str(error))
        else:
            await self._accept(job, record, checked)
        await self.serve()

    async def _accept(self, job: Job, record: Record, checked: Checked) -> None:
        now = time.time()
        job.progress, job.lease, job.started = now, now + self._lease, True
        if record.last.kind != "done":
            job.record = record
            await self._ledger.keep_record(job)
            if record.last.kind == "handed back":
                await self._lose(job, "handed back", "the node takes no more")
        elif record.error is None:
            await self._finish(job, {}, record)
        elif checked.is_final:
            await self._finish(job, {"error": list(record.error)}, record)
        else:
            await self._lose(job, "failed", ": ".join(record.error))

    async def _finish(self, job: Job, head: dict[str, Any], record: Record) -> None:
        losses = [[loss.kind, loss.node, loss.error] for loss in job.losses]
        job.ending = True
        try:
            await self._ledger.finish(job, {**head, "losses": losses}, record)
        except NetworkError:
            job.ending = False
            raise
        who = job.assigned
        self._let_go(job)
        del self._jobs[job.seq]
        if who and "error" not in head:
            self._registry.earn(who.node, "completed", time.time())

    async def _lose(self, job: Job, kind: LossKind, error: str) -> None:
        """Take a task away from its node: it goes to another one, or fails for good."""
        who, now = job.assigned, time.time()
        assert who  # noqa: S101 - callers have looked
        job.lose(Loss(kind=kind, node=who.node, error=error))
        context = {"action": "task_lost", "node": who.node, "kind": kind}
        logger.warning("an assignment came to nothing: %s", error, extra=context)
        others = count_others(job.tried, self._registry.roster.members.values(), now)
        verdict = decide_loss(job.losses, others)
        # Who says that it takes no more may hand everything back.
        leaves = kind == "handed back" and self._registry.is_draining(who.node)
        if verdict.outcome and not leaves:
            self._registry.earn(who.node, verdict.outcome, now)
        if verdict.kind == "failed":
            failed, _, _ = error.partition(": ") if kind == "failed" else ("EngineError", "", "")
            await self._finish(job, {"error": [failed, verdict.reason]}, job.record)
            return
        self._let_go(job)
        await self._ledger.note(job)
        self._waiting.setdefault(job.address.lane, deque()).appendleft(job)

    def _let_go(self, job: Job) -> None:
        who, job.assigned = job.assigned, None
        if who:
            del self._running[who.nonce]
            self._load[who.node] -= 1
            self._registry.roster.give_back(who.node)

    async def cancel(self, result: str) -> bool:
        """Drop a task by the subject of its result; tell whether it was in hand."""
        job = self.find(result)
        if job is None or job.ending:
            return False
        if job.assigned:
            await self._call_back(job.assigned.node, job.assigned.nonce)
            self._let_go(job)
        else:
            lane = job.address.lane
            self._waiting[lane].remove(job)
            if not self._waiting[lane]:
                del self._waiting[lane]
            self._on_room(lane)
        del self._jobs[job.seq]
        await self._ledger.forget(job)
        await self.serve()
        return True

    async def _call_back(self, address: str, nonce: str) -> None:
        """Tell a node that a task is not its own any more."""
        nothing = Assignment(nonce=nonce, model="", order=b"", record=b"")
        await self._broker.publish(f"work.{address}", nothing.to_bytes())

    def _mark_invalid(self, address: str, why: str) -> None:
        context = {"action": "invalid", "node": address}
        logger.warning("a node handed in what is none: %s", why, extra=context)
        self._registry.earn(address, "invalid", time.time())
