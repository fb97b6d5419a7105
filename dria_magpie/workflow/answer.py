"""An answer goes into the state: on record first, then checked, then stored."""

from __future__ import annotations

import json

from dria_magpie.errors import StepError
from dria_magpie.models import Turn
from dria_magpie.workflow.graph import Workflow
from dria_magpie.workflow.interpreter import NextCall
from dria_magpie.workflow.state import ExecutionState


def take_answer(workflow: Workflow, call: NextCall, turn: Turn) -> ExecutionState:
    """Give the state after a call was answered.

    The turn is on record in any case; an answer that is no JSON where the task has a schema fails
    the task.

    Args:
        workflow: the graph.
        call: the call that was due.
        turn: what was generated for it.
    """
    if call.request.response_format and not _is_json(turn.text):
        return call.state.with_turn(turn).with_failure(workflow, _schema_error(turn))
    return call.state.with_answer(workflow, turn)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _schema_error(turn: Turn) -> StepError:
    why = "the answer was cut off: raise max_tokens" * (turn.finish_reason == "length")
    return StepError(
        f"task {turn.task_id!r} has a schema, and {turn.model} did not answer in JSON; "
        + (why or "use a model and an engine that support response_format")
    )
