"""Whether what a node handed in is what it says: signed by it, and a run of its task's workflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dria_magpie.errors import StateError
from dria_magpie.models import Turn
from dria_magpie.network.records import Order, Record, read_turns
from dria_magpie.workflow import ExecutionState, Failed, Finished, Workflow
from dria_magpie.workflow.replay import conclude, replay

UNTOUCHED = Record()


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
        state: where the run stands after its last turn.
        text: the workflow's return value, if the run is complete; else None.
        is_final: the run failed, and that follows from the workflow itself.
    """

    state: ExecutionState
    text: str | None = None
    is_final: bool = False


def check_record(order: Order, workflow: Workflow, record: Record, assigned: Assigned) -> Checked:
    """Check what a node handed in, as the hub does.

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
    for turn in turns[len(before.turns) :]:
        if turn.node != assigned.node:
            raise StateError(f"a turn names another node, {turn.node}")
        _check_model(workflow, turn, [assigned.model])
    return _follow(order, workflow, record, turns)


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
            _check_model(workflow, turn, order.models)
        known = seal.turns
    if known != len(turns):
        raise StateError("there are turns that nobody signed")
    return _follow(order, workflow, record, turns)


def _check_model(workflow: Workflow, turn: Turn, wanted: Sequence[str]) -> None:
    task = workflow.task(turn.task_id)
    named = [task.model] if task and task.model else wanted
    # Endpoints may say more than was asked for, such as the date of a model.
    if named and not any(turn.model == name or turn.model.startswith(f"{name}-") for name in named):
        raise StateError(f"a turn is by {turn.model!r}, where {' or '.join(named)!r} was wanted")


def _follow(order: Order, workflow: Workflow, record: Record, made: tuple[Turn, ...]) -> Checked:
    """Find a run of the workflow that has these turns and ends as the record says."""
    turns = (*read_turns(order.given), *made)
    kind = record.last.kind if record.seals else "state"
    for state in replay(workflow, turns, seed=order.seed):
        if kind != "done":
            return Checked(state=state)
        outcome = conclude(workflow, state)
        if record.error is not None:
            return Checked(state=state, is_final=isinstance(outcome, Failed))
        if isinstance(outcome, Finished):
            return Checked(state=state, text=outcome.text)
    raise StateError("its turns are no run of the workflow")
