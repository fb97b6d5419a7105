"""What comes back for a task, checked once more by whoever asked for it."""

from __future__ import annotations

from typing import Any

from dria_magpie import errors
from dria_magpie.errors import DriaMagpieError, EngineError, StateError
from dria_magpie.models import Task, TaskResult
from dria_magpie.network.envelope import split_parts
from dria_magpie.network.order import Order
from dria_magpie.network.record import Record
from dria_magpie.network.verification import Checked, check_result
from dria_magpie.node import Event, TurnDone
from dria_magpie.node.results import make_result
from dria_magpie.workflow import ExecutionState, Workflow


class Arrival:
    """What came back for a task.

    Args:
        task: what was handed in.
        workflow: its graph, parsed.
        state: where its run stood.
        asked: the task as it travelled now.
        payload: the result as it travelled, with the task as it travelled when that was made;
            without it if the hub has refused it.

    Raises:
        StateError: it is not that task's, not signed by the nodes that it names, or no run of it.
    """

    def __init__(
        self, task: Task, workflow: Workflow, state: ExecutionState, asked: bytes, payload: bytes
    ) -> None:
        head, (ordered, recorded) = split_parts(payload)
        self._task, self._state, self._error = task, state, head.get("error")
        self._checked: Checked | None = None
        self._node = ""
        if self._error and not ordered:
            return
        order, record = Order.read(ordered), Record.read(recorded)
        if ordered != asked and not _is_same(order, workflow):
            raise StateError("the network answered another task than was asked")
        self._checked = check_result(order, workflow, record)
        self._node = record.last.node if record.seals else ""

    @property
    def has_failed(self) -> bool:
        """Whether the task came to nothing."""
        return bool(self._error)

    def events(self) -> list[Event]:
        """Give the turns that are new, and the result."""
        way = self._checked.way if self._checked else ()
        states = way[len(self._state.turns) + 1 :]
        return [*(TurnDone(self._task.key, state) for state in states), self._make_result()]

    def _make_result(self) -> TaskResult:
        checked = self._checked
        state, text = (checked.state, checked.text) if checked else (self._state, None)
        failure = _read_error(self._error) if self._error else None
        if failure is None and text is None:
            failure = EngineError("the network gave no result")
        return make_result(self._task, state, text=text, error=failure, node=self._node)


def _is_same(order: Order, workflow: Workflow) -> bool:
    """Tell whether a task is of a workflow; its text may be another version's."""
    halves = (workflow.shape, workflow.filling)
    return (order.shape, order.filling) == halves or order.parse_workflow() == workflow


def _read_error(told: Any) -> DriaMagpieError:
    kind, text = str(told[0]), str(told[1])
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, DriaMagpieError):
        return known(text)
    return EngineError(text)
