"""What comes back for a task, checked once more by whoever asked for it."""

from __future__ import annotations

from typing import Any

from dria_magpie import errors
from dria_magpie.errors import DriaMagpieError, EngineError, StateError
from dria_magpie.models import Task, TaskResult
from dria_magpie.network.envelope import split_parts
from dria_magpie.network.order import Order
from dria_magpie.network.record import Record
from dria_magpie.network.verification import check_result
from dria_magpie.node import Event, TurnDone
from dria_magpie.node.results import make_result
from dria_magpie.workflow import Workflow
from dria_magpie.workflow.shape import write_halves


class Arrival:
    """What came back for a task.

    Args:
        task: what was handed in.
        workflow: its graph, parsed.
        asked: the task as it travelled now.
        payload: the result as it travelled, with the task as it travelled when that was made.

    Raises:
        StateError: it is not that task's, not signed by the nodes that it names, or no run of it.
    """

    def __init__(self, task: Task, workflow: Workflow, asked: bytes, payload: bytes) -> None:
        head, (ordered, recorded) = split_parts(payload)
        self._task, self._head = task, head
        order, record = Order.read(ordered), Record.read(recorded)
        if ordered != asked and not _is_same(order, workflow):
            raise StateError("the network answered another task than was asked")
        self._checked = check_result(order, workflow, record)
        self._node = record.last.node if record.seals else ""

    def events(self, known: int) -> list[Event]:
        """Give the turns from one on, and the result."""
        states = self._checked.way[known + 1 :]
        return [*(TurnDone(self._task.key, state) for state in states), self._make_result()]

    def _make_result(self) -> TaskResult:
        state, text, error = self._checked.state, self._checked.text, self._head.get("error")
        failure = _read_error(error) if error else None
        if failure is None and text is None:
            failure = EngineError("the network gave no result")
        return make_result(self._task, state, text=text, error=failure, node=self._node)


def _is_same(order: Order, workflow: Workflow) -> bool:
    """Tell whether a task is of a workflow; its text may be another version's."""
    return (order.shape, order.filling) == write_halves(workflow) or (
        order.parse_workflow() == workflow
    )


def _read_error(told: Any) -> DriaMagpieError:
    kind, text = str(told[0]), str(told[1])
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, DriaMagpieError):
        return known(text)
    return EngineError(text)
