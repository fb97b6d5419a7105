"""The states that turns prove: what a stranger's node says of a run is computed, never believed.

A node hands in the turns of a run. Its memory, position and result follow from the workflow and
these turns, so whoever receives them runs the interpreter over them and trusts nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from dria_magpie.errors import DriaMagpieError, EngineError
from dria_magpie.models import Turn
from dria_magpie.workflow.answer import take_answer
from dria_magpie.workflow.effort import Effort
from dria_magpie.workflow.graph import Workflow
from dria_magpie.workflow.interpreter import (
    Due,
    Failed,
    Finished,
    Moved,
    NextCall,
    Outcome,
    foresee,
)
from dria_magpie.workflow.state import ExecutionState

MOST_BRANCHES = 256
# No state beyond it can be read back.
_MOST = 2**53


def replay(workflow: Workflow, turns: Sequence[Turn], *, seed: int = 0) -> Iterator[ExecutionState]:
    """Give the states that a run can have reached with exactly these generations on record.

    Each is the last one of a `retrace`.

    Args:
        workflow: the graph.
        turns: every generation, oldest first; of anybody.
        seed: what the run's ``sample`` draws by.
    """
    for states in retrace(workflow, turns, seed=seed):
        yield states[-1]


def retrace(
    workflow: Workflow, turns: Sequence[Turn], *, seed: int = 0
) -> Iterator[tuple[ExecutionState, ...]]:
    """Give the ways that a run can have taken with exactly these generations on record.

    Each is the state at the start, and those right after each turn's answer was taken, as
    `TurnDone` has them: `advance` goes on from the last as the run did.

    A call that failed leaves no turn, and a run survives it only by a fallback. So wherever a step
    has one, its call may have failed, and explanations branch. They come depth first, an answer
    before a failure: if a run without failed calls explains the turns, it is the first. Two
    explanations may lead to equal states.

    ``seconds`` is the sum of the turns'. The time of failed calls is not known, so it may be less
    than the run's own, never more: a run that ended at ``max_time`` may seem to go on, but a limit
    that the run did not reach is not found here.

    Args:
        workflow: the graph.
        turns: every generation, oldest first; of anybody.
        seed: what the run's ``sample`` draws by.

    Yields:
        Nothing if the turns are of no run of this workflow. Nothing more after 256 explanations,
        false ones included, or 10,000 moves in all, of which those over large texts count several
        times.
    """
    if not 0 <= seed < _MOST or not all(0 <= turn.seconds < _MOST for turn in turns):
        return
    way = [ExecutionState.start(workflow, seed=seed)]
    effort = Effort(way[0])
    # What would fall out at the far end is never looked at: it comes after too many others.
    pending = deque([way[0]], maxlen=MOST_BRANCHES)
    for _ in range(MOST_BRANCHES):
        if not pending:
            return
        state: ExecutionState | None = pending.pop()
        while state and (known := len(state.turns)) < len(turns):
            turn = turns[known]
            if not effort.spend(workflow, state, turn.text):
                return
            state, other = _follow(workflow, state, turn, effort)
            if other:
                pending.append(other)
            if state and len(state.turns) > known:
                # The last branch was the deepest one: what is below its end is its own way, too.
                way[known + 1 :] = [state]
        if state:
            yield tuple(way)


def find_end(workflow: Workflow, state: ExecutionState) -> Finished | Failed | None:
    """Give the end that a run comes to before it needs a model again; None if it needs one."""
    outcome = _complete(workflow, state, Effort(state))
    return outcome if isinstance(outcome, Finished | Failed) else None


def conclude(workflow: Workflow, state: ExecutionState) -> Finished | Failed | None:
    """Give the one end that a run can have come to without another turn.

    That is `find_end`, but a call that is due has failed if its step has a fallback. To check a
    result that a node claims::

        ends = (conclude(workflow, state) for state in replay(workflow, turns, seed=seed))
        proven = Finished(text) in ends

    Returns:
        None if the run cannot go on without an answer, or not within 10,000 moves.
    """
    effort = Effort(state)
    following: ExecutionState | None = state
    while following:
        outcome = _complete(workflow, following, effort)
        if not isinstance(outcome, NextCall | Due):
            return outcome
        following = _fail(workflow, outcome)
    return None


def _complete(
    workflow: Workflow, state: ExecutionState, effort: Effort
) -> Finished | Failed | NextCall | Due | None:
    while effort.spend(workflow, state):
        outcome = _foresee(workflow, state, effort)
        if not isinstance(outcome, Moved):
            return outcome
        state = outcome.state
    return None


def _foresee(workflow: Workflow, state: ExecutionState, effort: Effort) -> Outcome | Due:
    try:
        return foresee(workflow, state, effort.held(state), effort.entries)
    except DriaMagpieError as error:
        return Failed(error)


def _follow(
    workflow: Workflow, state: ExecutionState, turn: Turn, effort: Effort
) -> tuple[ExecutionState | None, ExecutionState | None]:
    """Give the state that comes next, and the other one that may; None where there is none."""
    outcome = _foresee(workflow, state, effort)
    if isinstance(outcome, Moved):
        return outcome.state, None
    if not isinstance(outcome, NextCall | Due):
        return None, None
    failed = _fail(workflow, outcome)
    if outcome.task_id != turn.task_id:
        return failed, None
    if isinstance(outcome, Due):
        return outcome.state.with_answer(workflow, turn), failed
    return take_answer(workflow, outcome, turn), failed


def _fail(workflow: Workflow, call: NextCall | Due) -> ExecutionState | None:
    step = call.state.current_step(workflow)
    if step is None or step.fallback is None:
        return None
    return call.state.with_failure(workflow, EngineError("the call left no turn"))
