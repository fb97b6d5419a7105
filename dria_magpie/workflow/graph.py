"""The workflow graph: Dria's v1 workflow format, read and written.

Shape of the JSON: ``config``, ``external_memory``, ``tasks``, ``steps``, ``return_value``. A field
that is null counts as absent, a field that nobody knows is ignored. Three fields of a task are
this project's own, each of which an older executor passes over: ``open_user_turn``, ``sampling``
and ``model``; so is the message role ``history``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from dria_magpie.errors import GraphError
from dria_magpie.models import Sampling

PLACEHOLDER = re.compile(r"\{\{(.+)\}\}|\{([^{}]+)\}")
RESULT = "__result"
END = "__end"


class Operator(StrEnum):
    """What a task does."""

    GENERATION = "generation"
    FUNCTION_CALLING = "function_calling"
    FUNCTION_CALLING_RAW = "function_calling_raw"
    SEARCH = "search"
    SAMPLE = "sample"
    END = "end"


class Expression(StrEnum):
    """How a condition compares."""

    EQUAL = "Equal"
    NOT_EQUAL = "NotEqual"
    CONTAINS = "Contains"
    NOT_CONTAINS = "NotContains"
    GREATER_THAN = "GreaterThan"
    LESS_THAN = "LessThan"
    GREATER_THAN_OR_EQUAL = "GreaterThanOrEqual"
    LESS_THAN_OR_EQUAL = "LessThanOrEqual"
    HAVE_SIMILAR = "HaveSimilar"


InputType = Literal["input", "read", "pop", "peek", "get_all", "size", "string"]
OutputType = Literal["write", "insert", "push"]
PostProcessType = Literal[
    "replace", "append", "prepend", "to_lower", "to_upper", "trim", "trim_start", "trim_end"
]
Text = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) in {int, float} else v)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            return {name: value for name, value in values.items() if value is not None}
        return values


class InputValue(_Part):
    """Where a value comes from: a kind of memory access, and its key."""

    type: InputType
    key: str = ""
    index: int | None = None


class Input(_Part):
    """A value that a task reads before it runs, under a name that its messages use."""

    name: str
    value: InputValue
    required: bool = True


class Output(_Part):
    """Where a task's result goes. A `value` other than ``__result`` is stored literally."""

    type: OutputType
    key: str = ""
    value: Text = RESULT


class MessageTemplate(_Part):
    """A message whose placeholders ``{{name}}`` and ``{name}`` stand for inputs.

    With the role ``history`` the content is one placeholder for a list: alternating messages.
    """

    role: str
    content: str = ""

    @model_validator(mode="after")
    def _check_history(self) -> MessageTemplate:
        if self.role == "history" and not PLACEHOLDER.fullmatch(self.content.strip()):
            msg = "a message of the role history has one placeholder as content, as {{chat}}"
            raise ValueError(msg)
        return self


def _read_sampling(value: Any) -> Any:
    return Sampling.from_dict(value) if isinstance(value, Mapping) else value


class WorkflowTask(_Part):
    """A task of the graph: what is read, what is asked, where the answer goes."""

    id: str
    name: str = "Task"
    description: str = "Task Description"
    operator: Operator
    messages: tuple[MessageTemplate, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    output_schema: Any = Field(default=None, alias="schema")
    sampling: (
        Annotated[Sampling, BeforeValidator(_read_sampling), PlainSerializer(Sampling.to_dict)]
        | None
    ) = None
    open_user_turn: bool | None = None
    model: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_prompt(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("messages") is None and "prompt" in values:
            prompt = values["prompt"]
            messages = [] if prompt is None else [{"role": "user", "content": prompt}]
            return {**values, "messages": messages}
        return values

    @model_validator(mode="after")
    def _check_open_turn(self) -> WorkflowTask:
        last = self.messages[-1] if self.messages else None
        if self.open_user_turn and (last is None or last.role != "user" or last.content):
            msg = "with open_user_turn the last message is an empty one of the role user"
            raise ValueError(msg)
        return self


class Condition(_Part):
    """A comparison after a task: met leads to the step's target, else to `target_if_not`."""

    input: InputValue
    expected: Text
    expression: Expression
    target_if_not: str


class Step(_Part):
    """An edge: after the task `source` comes `target`, or `fallback` if the task failed."""

    source: str
    target: str
    condition: Condition | None = None
    fallback: str | None = None


class PostProcess(_Part):
    """A change to the returned text."""

    process_type: PostProcessType
    lhs: Text | None = None
    rhs: Text | None = None


class ReturnValue(_Part):
    """What a run returns."""

    input: InputValue | tuple[InputValue, ...]
    to_json: bool | None = None
    post_process: tuple[PostProcess, ...] = ()


class Config(_Part):
    """Limits of a run: steps, seconds of generation, tokens of one message."""

    max_steps: int = Field(ge=0)
    max_time: int = Field(ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    tools: tuple[str, ...] = ()
    custom_tools: tuple[Any, ...] | None = None


class Workflow(_Part):
    """A workflow graph: a frozen value that dumps to the JSON that other executors read.

    Example::

        graph = Workflow.parse(json.loads(text))
        text = graph.model_dump_json(indent=2)
    """

    config: Config
    external_memory: dict[str, str | list[str | dict[str, Any]] | dict[str, Any]] = {}
    tasks: tuple[WorkflowTask, ...] = ()
    steps: tuple[Step, ...] = ()
    return_value: ReturnValue

    _tasks_by_id: dict[str, WorkflowTask] = PrivateAttr()
    _steps_by_source: dict[str, int] = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _drop_null_memory(cls, values: Any) -> Any:
        memory = values.get("external_memory") if isinstance(values, Mapping) else None
        if isinstance(memory, Mapping):
            kept = {key: value for key, value in memory.items() if value is not None}
            return {**values, "external_memory": kept}
        return values

    def model_post_init(self, _context: Any, /) -> None:
        """Index tasks and steps; of several with one name the first counts."""
        self._tasks_by_id = {task.id: task for task in reversed(self.tasks)}
        pairs = reversed(list(enumerate(self.steps)))
        self._steps_by_source = {step.source: index for index, step in pairs}

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
            graph = dump()
        try:
            return cls.model_validate(graph)
        except ValidationError as error:
            raise GraphError(_describe(error)) from error

    def task(self, task_id: str) -> WorkflowTask | None:
        """Give the first task of this id."""
        return self._tasks_by_id.get(task_id)

    def step_from(self, source: str | None) -> int | None:
        """Give the position of the first step that starts at a task; None ends the run."""
        return None if source is None else self._steps_by_source.get(source)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Give the graph as a dict that every executor and validator takes: without nulls."""
        return super().model_dump(**{"exclude_none": True, "by_alias": True, **options})

    def model_dump_json(self, **options: Any) -> str:
        """Give the graph as JSON text, without nulls."""
        return super().model_dump_json(**{"exclude_none": True, "by_alias": True, **options})


def _describe(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, p['loc'])) or 'workflow'}: {p['msg']}" for p in problems[:8]]
    more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
    return "not a workflow:\n  " + "\n  ".join(lines) + more
