"""Who works on what: assigns tasks to nodes, and judges what nodes hand in."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from dria_magpie.errors import NetworkError, StateError
from dria_magpie.network.assignment import LEASE, Assignment, Beat
from dria_magpie.network.broker import Broker
from dria_magpie.network.hub.checks import Checks
from dria_magpie.network.hub.job import Job
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.pace import Pace
from dria_magpie.network.hub.placement import Placement, count_others
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.verdict import OUTCOMES, Loss, LossKind, decide_loss
from dria_magpie.network.records import MOST_BYTES, Record
from dria_magpie.network.verification import UNTOUCHED, Assigned, Checked, check_record

logger = logging.getLogger(__name__)
STALLED_AFTER = 900.0
LaneKey = tuple[str, str]
_LONGEST_ERROR = 500
_MOST_CALLED_BACK = 64


class Dispatcher:
    """Holds the tasks that were taken from the queue.

    Args:
        ledger: where it is written down who works on what.
        registry: the nodes.
        broker: the way to the nodes.
        lease: seconds until a task goes to another node if its node is silent.
        stalled_after: seconds without a turn until it does though the node is not.
        on_room: called with a queue's key when a task of it has left for a node.
        checks: has some tasks run again.
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
        checks: Checks | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._broker = broker
        self._lease = lease
        self._stalled_after = stalled_after
        self._on_room = on_room
        self._checks = checks or Checks(registry)
        self._pace = pace or Pace()
        self._turns: Counter[str] = Counter()
        self._jobs: dict[int, Job] = {}
        self._by_result: dict[str, Job] = {}
        self._running: dict[str, Job] = {}
        self._load: Counter[str] = Counter()
        self._waiting: OrderedDict[LaneKey, deque[Job]] = OrderedDict()
        self.reasons: dict[LaneKey, str] = {}

    def has(self, seq: int) -> bool:
        """Tell whether a task is in hand."""
        return seq in self._jobs

    def find(self, result: str) -> Job | None:
        """Give the task with a result's subject, if it is in hand."""
        return self._by_result.get(result)

    def load(self, address: str) -> int:
        """Give how many tasks a node works on."""
        return self._load[address]

    def weigh(self, client: str) -> int:
        """Give how many bytes a client's waiting tasks have."""
        lanes = [jobs for lane, jobs in self._waiting.items() if lane[0] == client]
        return sum(len(job.payload) for jobs in lanes for job in jobs)

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
        self._by_result[job.address.result] = job
        if job.assigned:
            now = time.time()
            job.lease, job.progress = now + self._lease, now
            self._running[job.assigned.nonce] = job
            self._load[job.assigned.node] += 1
            return
        self._waiting.setdefault(job.address.lane, deque()).append(job)
        await self.serve()

    async def serve(self) -> None:
        """Give waiting tasks to free nodes: to each client by turns, and to each of its queues."""
        leaving: list[Job] = []
        now, moved = time.time(), True
        while moved:
            moved = False
            served = set()
            for lane in sorted(self._waiting, key=lambda lane: self._turns[lane[0]]):
                jobs = self._waiting[lane]
                if lane[0] in served:
                    continue
                placement = self._registry.roster.place(jobs[0].wanted, now)
                self.reasons[lane] = placement.reason
                if not placement.node:
                    continue
                moved = True
                served.add(lane[0])
                self._waiting.move_to_end(lane)
                self._turns[lane[0]] = max(self._turns.values(), default=0) + 1
                leaving.append(self._assign(jobs.popleft(), placement, now))
                if not jobs:
                    del self._waiting[lane], self.reasons[lane]
        for job in leaving:
            if job.nonces == 1:
                self._on_room(job.address.lane)
            await self._send(job)

    def _assign(self, job: Job, placement: Placement, now: float) -> Job:
        job.assigned = Assigned(
            node=placement.node,
            nonce=secrets.token_hex(8),
            model=placement.model,
            before=job.record,
        )
        job.nonces += 1
        job.lease, job.since, job.progress, job.started = now + self._lease, now, now, False
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
        if not job.check:
            await self._ledger.note(job)
        await self._broker.publish(f"work.{who.node}", assignment.to_bytes())

    async def beat(self, address: str, beat: Beat) -> None:
        """Hear that a node is there, and what it works on."""
        now = time.time()
        foreign = []
        for nonce in beat.running:
            job = self._running.get(nonce)
            if job and job.assigned and job.assigned.node == address:
                job.lease, job.started = now + self._lease, True
            else:
                foreign.append(nonce)
        for nonce in foreign[:_MOST_CALLED_BACK]:  # the rest is in the next one, too
            await self._call_back(address, nonce)
        self._registry.beat(address, beat, now, self._load[address])
        await self.serve()

    def renew_leases(self) -> None:
        """Let nodes keep their tasks that could not be heard for a while."""
        now = time.time()
        for job in self._running.values():
            job.lease = now + self._lease

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
            elif self._is_stalled(job, now):
                await self._call_back(who.node, who.nonce)
                await self._lose(job, "stalled", f"no turn for {self._stalled_after:.0f} s")
        await self.serve()

    def _is_stalled(self, job: Job, now: float) -> bool:
        """Tell whether a run goes on too slowly, or longer than its task may take."""
        most = job.workflow.config.max_time + self._stalled_after
        return now - job.progress > self._stalled_after or now - job.since > most

    async def note_all(self) -> None:
        """Write down again who works on what, as notes are forgotten after some time."""
        for job in list(self._jobs.values()):
            if job.nonces and not job.ending:
                await self._ledger.note(job)

    async def take(self, address: str, payload: bytes) -> None:
        """Judge what a node hands in.

        Raises:
            NetworkError: a result could not be kept; it is to be handed in again.
        """
        try:
            if len(payload) > MOST_BYTES:
                raise StateError(f"{len(payload):,} bytes are more than a network takes")
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
        if record.last.kind == "state" and len(record.turns) <= len(job.record.turns):
            return  # nothing new, however often it is said
        elapsed = time.time() - job.since
        look = partial(_look_at, job, job.assigned, record, elapsed)
        checked = await self._pace.spend(job.address.client, look)
        if self._running.get(nonce) is not job or job.ending:
            return  # it was taken back meanwhile
        if isinstance(checked, StateError):
            await self._call_back(address, nonce)
            await self._lose(job, "invalid", str(checked))
        else:
            await self._accept(job, record, checked)
        await self.serve()

    async def _accept(self, job: Job, record: Record, checked: Checked) -> None:
        now = time.time()
        job.progress, job.lease, job.started = now, now + self._lease, True
        if job.check:
            await self._end_check(job, record)
        elif record.last.kind != "done":
            # From where a run can only fail, nobody goes on.
            if checked.failure is None:
                job.record = record
                await self._ledger.keep_record(job)
            if record.last.kind == "handed back":
                await self._lose(job, "handed back", "the node takes no more")
        elif record.error is None:
            await self._finish(job, {}, record)
        else:
            await self._fail(job, record, record.error, checked)

    async def _fail(
        self, job: Job, record: Record, error: tuple[str, str], checked: Checked
    ) -> None:
        """Take a node's word that a task fails for what it is worth."""
        doomed = job.assigned is not None and bool(job.assigned.before.turns)
        if checked.failure and doomed:
            # Nobody can tell which of them has spoilt it: it is begun anew.
            job.record = UNTOUCHED
            await self._ledger.keep_record(job)
            await self._lose(job, "handed back", "it fails after what nodes before made of it")
        elif checked.failure and checked.is_final:
            await self._finish(job, {"error": list(checked.failure)}, record)
        else:
            await self._lose(job, "failed", ": ".join(error)[:_LONGEST_ERROR])

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
        self._take_out(job)
        if who and "error" not in head:
            self._registry.earn(who.node, "completed", time.time())
            self._mark_failed(job, who.node)
            await self._check(self._checks.choose(job, record))

    async def _end_check(self, job: Job, record: Record) -> None:
        """Compare what came of a spot check; one that came to nothing says nothing."""
        who = job.assigned
        if who is None or record.last.kind == "state":
            return
        self._let_go(job)
        if record.last.kind == "done" and record.error is None:
            await self._check(self._checks.judge(job, who.node, record))

    async def _check(self, chosen: tuple[Job, Placement] | None) -> None:
        if chosen:
            await self._send(self._assign(*chosen, time.time()))

    async def _lose(self, job: Job, kind: LossKind, error: str) -> None:
        """Take a task away from its node: it goes to another one, or fails for good."""
        who, now = job.assigned, time.time()
        assert who  # noqa: S101 - callers have looked
        if job.check:
            self._let_go(job)
            self._registry.earn(who.node, OUTCOMES[kind], now)
            return
        job.lose(Loss(kind=kind, node=who.node, error=error))
        context = {"action": "task_lost", "node": who.node, "kind": kind}
        logger.warning("an assignment came to nothing: %s", error, extra=context)
        others = count_others(job.tried, self._registry.roster.members.values(), now)
        verdict = decide_loss(job.losses, others)
        # Who says that it takes no more may hand everything back.
        leaves = kind == "handed back" and self._registry.is_draining(who.node)
        # What fails may be at fault itself; who fails alone is marked once another has done it.
        if verdict.outcome and not leaves and kind != "failed":
            self._registry.earn(who.node, verdict.outcome, now)
        if verdict.kind == "failed":
            failed, _, _ = error.partition(": ") if kind == "failed" else ("EngineError", "", "")
            await self._finish(job, {"error": [failed, verdict.reason]}, job.record)
            return
        self._let_go(job)
        self._waiting.setdefault(job.address.lane, deque()).appendleft(job)
        await self._ledger.note(job)

    def _mark_failed(self, job: Job, winner: str) -> None:
        """Mark who said that a task fails which another node has completed: it was not the task."""
        for node in {loss.node for loss in job.losses if loss.kind == "failed"} - {winner}:
            self._registry.earn(node, "rejected", time.time())

    def _take_out(self, job: Job) -> None:
        del self._jobs[job.seq]
        if self._by_result.get(job.address.result) is job:
            del self._by_result[job.address.result]

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
        await self._drop(job)
        await self.serve()
        return True

    async def cancel_run(self, client: str, run: str) -> None:
        """Drop all tasks of a client's run."""
        for job in list(self._jobs.values()):
            if (job.address.client, job.address.run) == (client, run) and not job.ending:
                await self._drop(job)
        await self.serve()

    async def _drop(self, job: Job) -> None:
        self._take_out(job)
        if job.assigned:
            who = job.assigned
            self._let_go(job)
            await self._call_back(who.node, who.nonce)
        else:
            lane = job.address.lane
            self._waiting[lane].remove(job)
            if not self._waiting[lane]:
                del self._waiting[lane]
            if not job.nonces:
                self._on_room(lane)
        await self._ledger.forget(job)

    async def _call_back(self, address: str, nonce: str) -> None:
        """Tell a node that a task is not its own any more."""
        word = Assignment.ended(nonce, "taken back")
        await self._broker.publish(f"work.{address}", word.to_bytes())

    async def settle(self, address: str, payload: bytes) -> None:
        """Tell a node that what it handed in was read, so that it need not keep it."""
        with suppress(StateError):
            record = Record.read(payload)
            if record.seals:
                word = Assignment.ended(record.last.nonce, "settled")
                await self._broker.publish(f"work.{address}", word.to_bytes())

    def _mark_invalid(self, address: str, why: str) -> None:
        context = {"action": "invalid", "node": address}
        logger.warning("a node handed in what is none: %s", why, extra=context)
        self._registry.earn(address, "invalid", time.time())


def _look_at(job: Job, assigned: Assigned, record: Record, elapsed: float) -> Checked | StateError:
    try:
        return check_record(job.order, job.workflow, record, assigned, elapsed=elapsed)
    except StateError as error:
        return error
