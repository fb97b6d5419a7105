"""The tasks in the hub's hands: which wait, which nodes work on which."""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from itertools import count

from dria_magpie.network.hub.job import Address, Job, LaneKey
from dria_magpie.network.hub.placement import Placement
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.verification import Assigned

_CLOSED_FOR = 60.0


class Board:
    """Knows who works on what; it tells nobody, and writes nothing down.

    Args:
        registry: the nodes.
        lease: seconds until a task goes to another node if its node is silent.

    Attributes:
        lease: likewise.
        reasons: why the first task of each queue waits.
    """

    def __init__(self, registry: Registry, lease: float) -> None:
        self.lease = lease
        self.reasons: dict[LaneKey, str] = {}
        self._registry = registry
        self._turns: Counter[str] = Counter()
        self._jobs: dict[int, Job] = {}
        self._nowhere = count(1)
        self._by_result: dict[str, Job] = {}
        self._running: dict[str, Job] = {}
        self._load: Counter[str] = Counter()
        self._closed: dict[tuple[str, str], float] = {}
        self._waiting: OrderedDict[LaneKey, deque[Job]] = OrderedDict()

    def find(self, result: str) -> Job | None:
        """Give the task with a result's subject, if it is in hand."""
        return self._by_result.get(result)

    def working(self, nonce: str) -> Job | None:
        """Give the task of an assignment that counts."""
        return self._running.get(nonce)

    def jobs(self) -> list[Job]:
        """Give the tasks in hand."""
        return list(self._jobs.values())

    def assigned(self) -> list[Job]:
        """Give the tasks that nodes work on, spot checks too."""
        return list(self._running.values())

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

    def close_run(self, client: str, run: str) -> None:
        """Note that a run is over: tasks of it may still be on their way into their queue."""
        now = time.time()
        self._closed = {key: at for key, at in self._closed.items() if at > now - _CLOSED_FOR}
        self._closed[client, run] = now

    def is_closed(self, address: Address) -> bool:
        """Tell whether a task is of a run that is over."""
        return (address.client, address.run) in self._closed

    def claim(self, address: Address, seq: int) -> bool:
        """Tell whether a task is in hand; if it is, this is its place from now on.

        A broker that has forgotten a task is handed it in again.
        """
        known = self._jobs.get(seq)
        if known is None or known.address != address:
            known = self._by_result.get(address.result)
        if known is None or known.address != address:
            return False
        if known.seq != seq:
            self._put(known, seq)
        return True

    def displace(self, job: Job) -> None:
        """Note that a task in hand has no place any more: others may be given it."""
        if self._jobs.get(job.seq) is job:
            self._put(job, -next(self._nowhere))

    def _put(self, job: Job, seq: int) -> None:
        del self._jobs[job.seq]
        if seq in self._jobs:
            self.displace(self._jobs[seq])
        job.seq = seq
        self._jobs[seq] = job

    def add(self, job: Job) -> None:
        """Take a task in hand: one that is new, or one that an earlier hub had assigned."""
        if job.seq in self._jobs:
            self.displace(self._jobs[job.seq])
        self._jobs[job.seq] = job
        self._by_result[job.address.result] = job
        if job.assigned:
            now = time.time()
            job.lease, job.progress = now + self.lease, now
            self._running[job.assigned.nonce] = job
            self._load[job.assigned.node] += 1
        else:
            self._waiting.setdefault(job.address.lane, deque()).append(job)

    def assign_waiting(self) -> list[Job]:
        """Assign waiting tasks to free nodes: to each client by turns, and to each of its queues.

        Returns:
            The tasks that leave.
        """
        leaving: list[Job] = []
        now, moved = time.time(), True
        while moved:
            moved = False
            served = set()
            for lane in sorted(self._waiting, key=lambda lane: self._turns[lane[0]]):
                jobs = self._waiting[lane]
                if lane[0] in served:
                    continue
                position, placement = self._choose(jobs, now)
                self.reasons[lane] = placement.reason
                if not placement.node:
                    continue
                moved = True
                served.add(lane[0])
                self._waiting.move_to_end(lane)
                self._turns[lane[0]] = max(self._turns.values(), default=0) + 1
                job = jobs[position]
                del jobs[position]
                leaving.append(self.assign(job, placement, now))
                if not jobs:
                    del self._waiting[lane], self.reasons[lane]
        return leaving

    def _choose(self, jobs: Sequence[Job], now: float) -> tuple[int, Placement]:
        """Give which task of a queue is next, and where it goes.

        It is the first, unless that waits for another node than those that are free, as they lost
        it: then it is the first that nobody has lost.
        """
        roster = self._registry.roster
        first = roster.place(jobs[0].wanted, now)
        if first.node or not jobs[0].wanted.lost_by:
            return 0, first
        fresh = next((n for n, job in enumerate(jobs) if not job.wanted.lost_by), 0)
        other = roster.place(jobs[fresh].wanted, now)
        return (fresh, other) if other.node else (0, first)

    def assign(self, job: Job, placement: Placement, now: float) -> Job:
        """Note that a node is given a task."""
        job.assigned = Assigned(
            node=placement.node,
            nonce=secrets.token_hex(8),
            model=placement.model,
            before=job.record,
        )
        job.nonces += 1
        job.lease, job.since, job.progress = now + self.lease, now, now
        job.started = job.excused = False
        self._running[job.assigned.nonce] = job
        self._load[placement.node] += 1
        self._registry.roster.take(placement.node)
        return job

    def let_go(self, job: Job) -> None:
        """Note that nobody works on a task any more."""
        who, job.assigned = job.assigned, None
        if who:
            del self._running[who.nonce]
            self._load[who.node] -= 1
            self._registry.roster.give_back(who.node)

    def put_back(self, job: Job) -> None:
        """Have a task wait again, before all others of its queue."""
        self._waiting.setdefault(job.address.lane, deque()).appendleft(job)

    def take_out(self, job: Job) -> None:
        """Forget a task, whether it waits or not."""
        del self._jobs[job.seq]
        if self._by_result.get(job.address.result) is job:
            del self._by_result[job.address.result]
        lane = job.address.lane
        waiting = self._waiting.get(lane, ())
        if job in waiting:
            self._waiting[lane].remove(job)
            if not self._waiting[lane]:
                del self._waiting[lane]

    def excuse_nodes(self) -> None:
        """Note that nodes may not have heard of what they were given, as the broker was away."""
        for job in self._running.values():
            job.excused = True

    def renew_leases(self) -> None:
        """Let nodes keep their tasks that could not be heard for a while."""
        now = time.time()
        for job in self._running.values():
            job.lease = now + self.lease
