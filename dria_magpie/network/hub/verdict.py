"""What follows when a node's work on a task ends badly: for the task, and for the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dria_magpie.network.hub.reputation import Outcome

LossKind = Literal["never started", "lost", "stalled", "handed back", "failed", "invalid"]
# One machine may be switched off and another run out of memory; a task that a third node loses as
# well is most likely what brings them down, and would take the whole network with it.
MOST_LOSSES = 3
# These say something about the task; the others only about the node.
AGAINST_TASK: frozenset[LossKind] = frozenset({"lost", "stalled", "failed"})
OUTCOMES: dict[LossKind, Outcome] = {
    "never started": "timed out",
    "lost": "timed out",
    "stalled": "timed out",
    "handed back": "rejected",
    "failed": "rejected",
    "invalid": "invalid",
}
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Loss:
    """How a node's work on a task ended badly.

    Attributes:
        kind: ``never started`` after it was given; ``lost`` with its node, or its lease ran out;
            ``stalled`` without progress; ``handed back`` unfinished, or refused; ``failed``, as
            the node says, by the workflow or the engine; ``invalid``, as it was a lie or broken.
        node: the node's address.
        error: what is known of it, such as the kind and the text of the engine's error.
    """

    kind: LossKind
    node: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a loss.

    Attributes:
        kind: ``again``: the task is placed once more; ``failed``: it has ended.
        outcome: what it is for the record of the node that had it last; None for nothing.
        reason: why, for people; of a failed task every loss that counted.
    """

    kind: Literal["again", "failed"]
    outcome: Outcome | None
    reason: str


def decide_loss(losses: Sequence[Loss], others: int, final: bool = False) -> Verdict:
    """Decide after a loss.

    Args:
        losses: all losses of the task, at least one, the last one being new.
        others: nodes that are there, serve the task and have not lost it; see `count_others`.
        final: the last loss is a failure that follows from the workflow itself, whoever runs it,
            and this was verified.
    """
    last = losses[-1]
    if final:
        # The node did its work, and what it told was accepted.
        return Verdict("failed", "completed", f"the workflow itself fails: {_describe(last)}")
    outcome = _decide_outcome(losses)
    if last.kind not in AGAINST_TASK:
        return Verdict("again", outcome, f"{_describe(last)}; that says nothing about the task")
    counted = _count(losses, others)
    if len(counted) >= MOST_LOSSES:
        said = "; ".join(map(_describe, counted))
        return Verdict("failed", outcome, f"it was started and lost {len(counted)} times: {said}")
    if last.kind == "failed" and not others:
        said = "; ".join(map(_describe, counted))
        return Verdict("failed", outcome, f"no other node serves it: {said}")
    left = f"loss {len(counted)} of {MOST_LOSSES} that end a task"
    return Verdict("again", outcome, f"{_describe(last)}; {left}")


def _decide_outcome(losses: Sequence[Loss]) -> Outcome | None:
    last = losses[-1]
    # A task that fails on one node after the other is at fault itself, not those who try it.
    failed_before = any(loss.kind == "failed" and loss.node != last.node for loss in losses)
    return None if last.kind == "failed" and failed_before else OUTCOMES[last.kind]


def _count(losses: Sequence[Loss], others: int) -> list[Loss]:
    """Give the losses that count: of each node the last one, or all if there is no other node."""
    counted = [loss for loss in losses if loss.kind in AGAINST_TASK]
    return list({loss.node: loss for loss in counted}.values()) if others else counted


def _describe(loss: Loss) -> str:
    error = " ".join(loss.error.split())[:_LONGEST_ERROR]
    said = f"node {loss.node} {_WORDS[loss.kind]}"
    return f"{said}: {error}" if error else said


_WORDS: dict[LossKind, str] = {
    "never started": "never started it",
    "lost": "lost it",
    "stalled": "made no progress",
    "handed back": "handed it back",
    "failed": "failed",
    "invalid": "sent an invalid message",
}
