"""The workflow graph: Dria's v1 workflow format, read and written.

Shape of the JSON: ``config``, ``external_memory``, ``tasks``, ``steps``, ``return_value``. A field
that is null counts as absent, a field that nobody knows is ignored. Three fields of a task are
this project's own, each of which an older executor passes over: ``open_user_turn``, ``sampling``
and ``model``; so is the message role ``history``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import from_json

from dria_magpie.errors import GraphError
from dria_magpie.models import Sampling
from dria_magpie.workflow.parts import (
    Config,
    ExternalMemory,
    Part,
    ReturnValue,
    Step,
    TaskSize,
    WorkflowTask,
)
from dria_magpie.workflow.plain import check_json

_CHECKED: Mapping[str, bool] = {"checked": True}
_OF_SHAPES = ("_steps_by_source", "_sizes", "shape")
# What differs among the graphs of a sweep; the rest is their shape.
_FILLED: Any = {"external_memory": True, "tasks": {"__all__": {"sampling"}}}


class Workflow(Part):
    """A workflow graph: a frozen value that dumps to the JSON that other executors read.

    Example::

        graph = Workflow.parse(json.loads(text))
        text = graph.model_dump_json(indent=2)
    """

    config: Config
    external_memory: ExternalMemory = Field(default_factory=dict)
    tasks: tuple[WorkflowTask, ...] = ()
    steps: tuple[Step, ...] = ()
    return_value: ReturnValue

    @model_validator(mode="before")
    @classmethod
    def _check_json(cls, values: Any, info: ValidationInfo) -> Any:
        if info.context is _CHECKED:
            return values
        return check_json(values, passed=(BaseModel, Sampling, type))

    @model_validator(mode="before")
    @classmethod
    def _drop_null_memory(cls, values: Any) -> Any:
        memory = values.get("external_memory") if isinstance(values, Mapping) else None
        if isinstance(memory, Mapping):
            kept = {key: value for key, value in memory.items() if value is not None}
            return {**values, "external_memory": kept}
        return values

    # Of several with one name the first counts.
    @cached_property
    def _tasks_by_id(self) -> Mapping[str, WorkflowTask]:
        return {task.id: task for task in reversed(self.tasks)}

    @cached_property
    def _steps_by_source(self) -> Mapping[str, int]:
        return {step.source: index for index, step in reversed(list(enumerate(self.steps)))}

    @cached_property
    def _sizes(self) -> Mapping[str, TaskSize]:
        return {task.id: TaskSize.of(task) for task in reversed(self.tasks)}

    @cached_property
    def shape(self) -> str:
        """The graph as JSON, without its memory and its tasks' sampling."""
        return self.model_dump_json(exclude=_FILLED)

    @property
    def filling(self) -> str:
        """What its shape lacks, as JSON: ``{"external_memory": {}, "tasks": [{}, …]}``."""
        return self.model_dump_json(include=_FILLED)

    @classmethod
    def parse(cls, graph: Any) -> Workflow:
        """Read a graph from a dict, or from an object with ``model_dump``.

        Raises:
            GraphError: it is no workflow; the text names each field at fault.
        """
        if isinstance(graph, Workflow):
            return graph
        if not isinstance(graph, Mapping):
            dump = getattr(graph, "model_dump", None)
            if dump is None:
                raise GraphError(
                    f"a workflow is a dict or an object with model_dump, not {type(graph).__name__}"
                )
            graph = _dump(graph, dump)
        try:
            return cls.model_validate(graph)
        except ValidationError as error:
            raise GraphError(describe(error)) from error

    @classmethod
    def parse_text(cls, text: str) -> Workflow:
        """Read a graph from JSON.

        Raises:
            GraphError: it is no workflow; the text names each field at fault.
            ValueError: it is no JSON.
        """
        graph = from_json(text, allow_inf_nan=False)
        # Whatever came from JSON can be said in it, but for numbers that no field takes.
        try:
            return cls.model_validate(graph, context=_CHECKED)
        except ValidationError as error:
            raise GraphError(describe(error)) from error

    def task(self, task_id: str) -> WorkflowTask | None:
        """Give the first task of this id."""
        return self._tasks_by_id.get(task_id)

    def size(self, task_id: str) -> TaskSize:
        """Give the size of a task of this graph."""
        return self._sizes[task_id]

    def step_from(self, source: str | None) -> int | None:
        """Give the position of the first step that starts at a task; None ends the run."""
        return None if source is None else self._steps_by_source.get(source)

    def fill(self, memory: ExternalMemory, samplings: Sequence[Sampling | None]) -> Workflow:
        """Give a graph of the same shape.

        Args:
            memory: the external memory, valid already.
            samplings: of its tasks, in their order.
        """
        # What is known of a shape is known of all its graphs, and costs more than the copy.
        known = {name: getattr(self, name) for name in _OF_SHAPES}
        changes: dict[str, Any] = {"external_memory": memory}
        pairs = list(zip(self.tasks, samplings, strict=True))
        if any(sampling is not task.sampling for task, sampling in pairs):
            changes["tasks"] = tuple(t.model_copy(update={"sampling": s}) for t, s in pairs)
        else:
            known["_tasks_by_id"] = self._tasks_by_id
        copy = self.model_copy(update=changes)
        copy.__dict__.update(known)
        return copy

    def model_copy(self, **options: Any) -> Workflow:
        """Give a copy; see pydantic's own, which would keep what was known of the old values."""
        copy = super().model_copy(**options)
        for name in ("_tasks_by_id", *_OF_SHAPES):
            copy.__dict__.pop(name, None)
        return copy

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Give the graph as a dict that every executor and validator takes: without nulls."""
        options = {"mode": "json", "exclude_none": True, "by_alias": True, **options}
        return super().model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        """Give the graph as JSON text, without nulls."""
        return super().model_dump_json(**{"exclude_none": True, "by_alias": True, **options})


def _dump(graph: Any, dump: Callable[..., Any]) -> Any:
    # Dria's builder fills fields past their types, which pydantic would warn of.
    options = {"warnings": False} if isinstance(graph, BaseModel) else {}
    try:
        return dump(**options)
    except (TypeError, ValueError) as error:
        raise GraphError(f"the workflow cannot be dumped: {error}") from error


def describe(error: ValidationError) -> str:
    """Say what is wrong with a graph, field by field."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, p['loc'])) or 'workflow'}: {p['msg']}" for p in problems[:8]]
    more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
    return "not a workflow:\n  " + "\n  ".join(lines) + more
