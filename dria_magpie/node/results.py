"""The result of a run, from where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dria_magpie.errors import DriaMagpieError
from dria_magpie.models import Task, TaskResult
from dria_magpie.models.turn import join_models
from dria_magpie.workflow import ExecutionState


def make_result(
    task: Task,
    state: ExecutionState | None,
    *,
    text: str | None = None,
    error: DriaMagpieError | None = None,
    node: str = "local",
) -> TaskResult:
    """Give a task's result.

    Args:
        task: whose run it is.
        state: where the run stands; None if it never began.
        text: the workflow's return value, if the run is complete.
        error: why it is not.
        node: the address of the node that ran it.
    """
    turns = state.turns if state else ()
    return TaskResult(
        id=task.key,
        result=text,
        model=join_models(turns),
        error=error,
        turns=turns,
        node=node,
        seconds=state.seconds if state else 0.0,
        task_input=_read_input(task.workflow),
        step_name=task.step_name,
    )


def _read_input(workflow: Any) -> Mapping[str, Any]:
    if isinstance(workflow, Mapping):
        memory = workflow.get("external_memory")
    else:
        memory = getattr(workflow, "external_memory", None)
    return memory if isinstance(memory, Mapping) else {}
