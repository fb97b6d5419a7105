"""Spot checks: a few tasks are run once more, by a node that ought to say the same."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace
from itertools import count

from dria_magpie.network.hub.job import Check, Job, Run
from dria_magpie.network.hub.member import Member
from dria_magpie.network.hub.placement import Placement
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.spot_check import compare, is_chosen, judge
from dria_magpie.network.order import read_turns
from dria_magpie.network.record import Record
from dria_magpie.network.verification import UNTOUCHED

logger = logging.getLogger(__name__)
SHARE = 0.02


class Checks:
    """Chooses tasks to be run again, and judges what comes of it.

    Args:
        registry: the nodes, and what they earn.
        share: how many tasks are checked, 0 to 1.
    """

    def __init__(self, registry: Registry, share: float = SHARE) -> None:
        self._registry = registry
        self._share = share
        self._secret = secrets.token_bytes(32)
        self._numbers = count(1)

    def choose(self, job: Job, record: Record) -> tuple[Job, Placement] | None:
        """Give the task once more, and who is to run it; None if it is not checked.

        Only one that a single node made, whose every call had a seed, can come out alike.
        """
        if not self._share or len(record.seals) != 1 or job.order.given:
            return None
        name = f"{job.address.client}.{job.address.run}.{job.address.id}"
        if not is_chosen(name, self._share, self._secret):
            return None
        turns = read_turns(record.turns)
        # What turns say of themselves is the node's word, which would leave itself out.
        if not all(_has_seed(job, turn.task_id) for turn in turns):
            return None
        first = Run(record.last.node, tuple(turn.text for turn in turns))
        again = replace(
            job,
            # It stands in no queue, and is written down nowhere: a hub that dies drops it.
            seq=-next(self._numbers),
            check=Check((first,)),
            # From its start: else it would agree as far as the node has sent it before its end.
            record=UNTOUCHED,
            assigned=None,
            losses=(),
            ending=False,
        )
        return self.place(again)

    def place(self, job: Job) -> tuple[Job, Placement] | None:
        """Give who is to run a check next; None if nobody can."""
        assert job.check  # noqa: S101 - only checks are placed here
        members = self._registry.roster.members
        known = {run.node for run in job.check.runs}
        first = members.get(job.check.runs[0].node)
        now = time.time()
        able = [
            member
            for member in members.values()
            if first and member.address not in known and _is_alike(member, first)
            if member.free(now) and not job.wanted.fit(member.info).reason
        ]
        if not able:
            return None
        best = max(able, key=lambda member: member.room)
        return job, Placement(best.address, job.wanted.fit(best.info).model, "spot check")

    def judge(self, job: Job, node: str, record: Record) -> tuple[Job, Placement] | None:
        """Compare one more run; give who is to run it next, if that is not clear yet."""
        assert job.check  # noqa: S101 - only checks are judged here
        made = Run(node, tuple(turn.text for turn in read_turns(record.turns)))
        runs = (*job.check.runs, made)
        texts = [run.texts for run in runs]
        if len(runs) == 2:
            comparison = compare(*texts)
            if comparison.agree:
                return None
            self._tell("check_differs", comparison.reason, runs)
            return self.place(replace(job, check=Check(runs), assigned=None))
        judgement = judge(*texts)
        self._tell("check_judged", judgement.reason, runs)
        for liar in judgement.liars:
            self._registry.earn(runs[liar].node, "disputed", time.time())
        return None

    def _tell(self, action: str, reason: str, runs: tuple[Run, ...]) -> None:
        context = {"action": action, "nodes": [run.node for run in runs]}
        logger.warning("a spot check: %s", reason, extra=context)


def _is_alike(one: Member, other: Member) -> bool:
    return (one.build, one.hardware) == (other.build, other.hardware)


def _has_seed(job: Job, task_id: str) -> bool:
    task = job.workflow.task(task_id)
    return task is not None and task.sampling is not None and task.sampling.seed is not None
