"""What becomes of assignments: records are judged, leases run out, tasks end or go on."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, NamedTuple

from dria_magpie.errors import NetworkError, StateError
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.checks import Checks
from dria_magpie.network.hub.dispatcher import Dispatcher
from dria_magpie.network.hub.job import Job
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.placement import Placement, count_others
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.verdict import OUTCOMES, Loss, LossKind, decide_loss
from dria_magpie.network.order import MOST_BYTES, MOST_UNFINISHED
from dria_magpie.network.pace import Pace
from dria_magpie.network.record import Record
from dria_magpie.network.verification import UNTOUCHED, Assigned, Checked, check_record

logger = logging.getLogger(__name__)
STALLED_AFTER = 900.0
_LONGEST_ERROR = 500


class Settled(NamedTuple):
    """An assignment of which the hub has what was handed in.

    Attributes:
        node: the node's address.
        nonce: of the assignment.
    """

    node: str
    nonce: str


class Judge:
    """Accepts what is right, and marks who is wrong.

    Args:
        board: the tasks in hand.
        dispatcher: the way to the nodes.
        ledger: where results and records are kept.
        registry: the nodes, and what they earn.
        checks: has some tasks run again.
        pace: keeps one client's graphs from taking all the time.
        stalled_after: seconds without a turn until a task goes to another node though its node
            says that it works on it.
    """

    def __init__(
        self,
        board: Board,
        dispatcher: Dispatcher,
        ledger: Ledger,
        registry: Registry,
        *,
        checks: Checks,
        pace: Pace,
        stalled_after: float,
    ) -> None:
        self._board = board
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._registry = registry
        self._checks = checks
        self._pace = pace
        self._stalled_after = stalled_after

    async def check_leases(self) -> None:
        """Take tasks back from nodes that are silent, or do not come forward."""
        now = time.time()
        for job in self._board.assigned():
            who = job.assigned
            if who is None or job.ending:
                continue
            if job.lease < now and job.excused:
                await self._take_back(job, who)
            elif job.lease < now:
                said = f"not heard of for {self._board.lease:.0f} s"
                await self._lose(job, "lost" if job.started else "never started", said)
            elif self._is_stalled(job, now):
                await self._dispatcher.call_back(who.node, who.nonce)
                await self._lose(job, "stalled", f"no turn for {self._stalled_after:.0f} s")
        await self._dispatcher.serve()

    async def _take_back(self, job: Job, who: Assigned) -> None:
        """Give a task to another node, and hold nothing against the one that had it."""
        await self._dispatcher.call_back(who.node, who.nonce)
        if job.check:
            self._board.let_go(job)
        else:
            await self._put_back(job)

    async def _put_back(self, job: Job) -> None:
        self._board.let_go(job)
        self._board.put_back(job)
        await self._ledger.note(job)

    def _is_stalled(self, job: Job, now: float) -> bool:
        """Tell whether a run goes on too slowly, or longer than its task may take."""
        most = job.workflow.config.max_time + self._stalled_after
        return now - job.progress > self._stalled_after or now - job.since > most

    async def take(self, address: str, payload: bytes) -> Settled | None:
        """Judge what a node hands in; give the assignment of which it need keep nothing any more.

        Raises:
            NetworkError: a result could not be kept; it is to be handed in again.
        """
        try:
            if len(payload) > MOST_BYTES:
                raise StateError(f"{len(payload):,} bytes are more than a network takes")
            record = Record.read(payload)
            if record.seals and record.last.kind != "done" and len(payload) > MOST_UNFINISHED:
                raise StateError(f"nobody could go on from {len(payload):,} bytes")
        except StateError as error:
            self._mark_invalid(address, str(error))
            return None
        nonce = record.last.nonce if record.seals else ""
        job = self._board.working(nonce)
        is_settled = await self._weigh(address, nonce, job, record)
        if is_settled and nonce and record.last.kind != "state":
            return Settled(address, nonce)
        return None

    async def _weigh(self, address: str, nonce: str, job: Job | None, record: Record) -> bool:
        """Judge a record; tell whether the node need not keep it any longer."""
        if job is None or job.assigned is None:
            logger.info("a result came too late", extra={"action": "late", "node": address})
            return True
        if job.assigned.node != address:
            self._mark_invalid(address, "it answers for another node")
            return True
        if record.last.kind == "state" and len(record.turns) <= len(job.record.turns):
            return True  # nothing new, however often it is said
        if job.ending:
            return False  # another copy of it is being kept, which may fail
        elapsed = time.time() - job.since
        look = partial(_look_at, job, job.assigned, record, elapsed)
        checked = await self._pace.spend(job.address.client, look)
        still = self._board.working(nonce)
        if still is None:
            return True  # it was taken back meanwhile
        if still.ending:
            return False
        if isinstance(checked, StateError):
            await self._dispatcher.call_back(address, nonce)
            await self._lose(job, "invalid", str(checked))
        else:
            await self._accept(job, record, checked)
        return True

    async def _accept(self, job: Job, record: Record, checked: Checked) -> None:
        now = time.time()
        job.progress, job.lease, job.started = now, now + self._board.lease, True
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
        self._board.let_go(job)
        self._board.take_out(job)
        if who and "error" not in head:
            self._registry.earn(who.node, "completed", time.time())
            self._mark_failed(job, who.node)
            await self._check(self._checks.choose(job, record))

    async def _end_check(self, job: Job, record: Record) -> None:
        """Compare what came of a spot check; one that came to nothing says nothing."""
        who = job.assigned
        if who is None or record.last.kind == "state":
            return
        self._board.let_go(job)
        if record.last.kind == "done" and record.error is None:
            await self._check(self._checks.judge(job, who.node, record))

    async def _check(self, chosen: tuple[Job, Placement] | None) -> None:
        if chosen:
            await self._dispatcher.give(*chosen)

    async def _lose(self, job: Job, kind: LossKind, error: str) -> None:
        """Take a task away from its node: it goes to another one, or fails for good."""
        who, now = job.assigned, time.time()
        assert who  # noqa: S101 - callers have looked
        if job.check:
            self._board.let_go(job)
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
        await self._put_back(job)

    def _mark_failed(self, job: Job, winner: str) -> None:
        """Mark who said that a task fails which another node has completed: it was not the task."""
        for node in {loss.node for loss in job.losses if loss.kind == "failed"} - {winner}:
            self._registry.earn(node, "rejected", time.time())

    def _mark_invalid(self, address: str, why: str) -> None:
        context = {"action": "invalid", "node": address}
        logger.warning("a node handed in what is none: %s", why, extra=context)
        self._registry.earn(address, "invalid", time.time())


def _look_at(job: Job, assigned: Assigned, record: Record, elapsed: float) -> Checked | StateError:
    try:
        return check_record(job.order, job.workflow, record, assigned, elapsed=elapsed)
    except StateError as error:
        return error
