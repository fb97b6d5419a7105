"""Whether what a node handed in is what it says: signed by it, and a run of its task's workflow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dria_magpie.errors import StateError
from dria_magpie.models import Turn
from dria_magpie.network.order import Order, read_turns
from dria_magpie.network.record import Record
from dria_magpie.workflow import ExecutionState, Failed, Finished, Workflow
from dria_magpie.workflow.replay import conclude, find_end, retrace

UNTOUCHED = Record()
# Seconds: a node counts those of its calls, the hub those of the calendar, which may be set.
_CLOCKS_DIFFER = 5.0
_LONGEST_ERROR = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Who was to work on a task, and from where.

    Attributes:
        node: the node's address.
        nonce: of the assignment.
        model: for generations that name none; "" if each names its own.
        before: what earlier nodes had made of it.
    """

    node: str
    nonce: str
    model: str
    before: Record = UNTOUCHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A record that was found right.

    Attributes:
        way: where the run stood at its start, and after each turn.
        text: the workflow's return value, if the run is complete; else None.
        failure: kind and text of the error that the workflow itself comes to after these turns,
            whoever runs it; None if it can go on.
        is_final: so it does without a turn of the node that handed it in: with others it may not.
    """

    way: tuple[ExecutionState, ...]
    text: str | None = None
    failure: tuple[str, str] | None = None
    is_final: bool = False

    @property
    def state(self) -> ExecutionState:
        """Where the run stands after its last turn."""
        return self.way[-1]


def check_record(
    order: Order,
    workflow: Workflow,
    record: Record,
    assigned: Assigned,
    *,
    elapsed: float = math.inf,
) -> Checked:
    """Check what a node handed in, as the hub does.

    Args:
        order: the task.
        workflow: its graph.
        record: what the node handed in.
        assigned: what it was given.
        elapsed: seconds since then; its turns cannot have taken longer, and could else be said to
            have used up the time that the task has.

    Raises:
        StateError: it is not the node's, or no run of the workflow; the text says what is wrong.
    """
    before = assigned.before
    if not record.seals or record.seals[:-1] != before.seals:
        raise StateError("the seals of earlier nodes were changed")
    if record.turns[: len(before.turns)] != before.turns:
        raise StateError("turns of earlier nodes were changed")
    seal = record.last
    if (seal.node, seal.nonce) != (assigned.node, assigned.nonce):
        raise StateError("it is sealed for another assignment")
    if seal.turns != len(record.turns) or record.signer(order, seal) != assigned.node:
        raise StateError("its signature is not the node's")
    turns = read_turns(record.turns)
    made = turns[len(before.turns) :]
    for turn in made:
        if turn.node != assigned.node:
            raise StateError(f"a turn names another node, {turn.node:.80}")
        _check_turn(workflow, turn, [assigned.model])
    if sum(turn.seconds for turn in made) > elapsed + _CLOCKS_DIFFER:
        raise StateError("its turns took longer than it had the task")
    checked = _follow(order, workflow, record, turns)
    return checked if made or not checked.failure else replace(checked, is_final=True)


def check_result(order: Order, workflow: Workflow, record: Record) -> Checked:
    """Check a result, as whoever asked for it does, who knows nothing of assignments.

    Raises:
        StateError: a turn is not signed by the node that it names, or it is no run of the workflow.
    """
    turns = read_turns(record.turns)
    known = 0
    for seal in record.seals:
        if not known <= seal.turns <= len(turns) or record.signer(order, seal) != seal.node:
            raise StateError(f"a signature is not that of node {seal.node}")
        for turn in turns[known : seal.turns]:
            if turn.node != seal.node:
                raise StateError("a turn names another node than the one that signed it")
            _check_turn(workflow, turn, order.models)
        known = seal.turns
    if known != len(turns):
        raise StateError("there are turns that nobody signed")
    return _follow(order, workflow, record, turns)


def _check_turn(workflow: Workflow, turn: Turn, wanted: Sequence[str]) -> None:
    if not turn.text.strip():
        raise StateError("a turn is empty, which a node tells as an error")
    task = workflow.task(turn.task_id)
    named = [task.model] if task and task.model else wanted
    if not named or turn.model in named:
        return
    # Endpoints may say more than was asked for, such as the date of a model.
    if not any(turn.model.startswith(f"{name}-") for name in named):
        said = " or ".join(named)
        raise StateError(f"a turn is by {turn.model!r:.80}, where {said!r:.200} was wanted")


def _follow(order: Order, workflow: Workflow, record: Record, made: tuple[Turn, ...]) -> Checked:
    """Find a run of the workflow that has these turns and ends as the record says."""
    turns = (*read_turns(order.given), *made)
    kind = record.last.kind if record.seals else "state"
    failed = None
    for way in retrace(workflow, turns, seed=order.seed):
        state = way[-1]
        if kind == "done" and record.error is None:
            outcome = conclude(workflow, state)
            if isinstance(outcome, Finished):
                return Checked(way=way, text=outcome.text)
            continue
        end = find_end(workflow, state)
        if not isinstance(end, Failed):
            return Checked(way=way)
        told = (type(end.error).__name__, str(end.error)[:_LONGEST_ERROR])
        failed = failed or Checked(way=way, failure=told)
    if failed:
        return failed
    raise StateError("its turns are no run of the workflow")
