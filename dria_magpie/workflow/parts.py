"""The parts of a workflow graph: tasks with inputs and outputs, steps with conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic.errors import PydanticUserError

from dria_magpie.models import Sampling
from dria_magpie.workflow.plain import check_json

PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}|\{([^{}]+)\}")
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


Json = Annotated[Any, AfterValidator(check_json)]
ExternalMemory = dict[str, str | list[str | dict[str, Json]] | dict[str, Json]]
Whole = Annotated[
    int, BeforeValidator(lambda v: int(v) if isinstance(v, float) and v.is_integer() else v)
]


def _is_unplain(value: object) -> bool:
    return value is None or isinstance(value, Enum)


class Part(BaseModel):
    """A part of the graph: null counts as absent, and unknown fields are passed over.

    Members of enums, which Dria's builder gives, count as their values: before 2.10, pydantic does
    not see that.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, ignored_types=(cached_property,)
    )

    @model_validator(mode="before")
    @classmethod
    def _read_plainly(cls, values: Any) -> Any:
        if type(values) is dict and not any(map(_is_unplain, values.values())):
            return values
        if isinstance(values, Mapping):
            given = ((name, value) for name, value in values.items() if value is not None)
            return {name: v.value if isinstance(v, Enum) else v for name, v in given}
        return values


class InputValue(Part):
    """Where a value comes from: a kind of memory access, and its key."""

    type: InputType
    key: str = ""
    index: Whole | None = None


class Input(Part):
    """A value that a task reads before it runs, under a name that its messages use."""

    name: str
    value: InputValue
    required: bool = True


class Output(Part):
    """Where a task's result goes. A `value` other than ``__result`` is stored literally."""

    type: OutputType
    key: str = ""
    value: Text = RESULT


class MessageTemplate(Part):
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


TaskSampling = Annotated[
    Sampling, BeforeValidator(_read_sampling), PlainSerializer(Sampling.to_dict)
]


def _read_schema(value: Any) -> Any:
    """Take pydantic's classes too, so that a graph is always JSON."""
    if not hasattr(value, "model_json_schema"):
        return value
    try:
        return value.model_json_schema()
    except PydanticUserError as error:
        raise ValueError(str(error)) from error


class WorkflowTask(Part):
    """A task of the graph: what is read, what is asked, where the answer goes."""

    id: str
    name: str = "Task"
    description: str = "Task Description"
    operator: Operator
    messages: tuple[MessageTemplate, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    output_schema: Annotated[Json, BeforeValidator(_read_schema)] = Field(
        default=None, alias="schema"
    )
    sampling: TaskSampling | None = None
    open_user_turn: bool | None = None
    model: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_prompt(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("messages") not in (None, [], ()):
            return values
        prompt = values.get("prompt")
        messages = [] if prompt is None else [{"role": "user", "content": prompt}]
        return {**values, "messages": messages}

    @model_validator(mode="after")
    def _check_open_turn(self) -> WorkflowTask:
        last = self.messages[-1] if self.messages else None
        if self.open_user_turn and (last is None or last.role != "user" or last.content):
            msg = "with open_user_turn the last message is an empty one of the role user"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class TaskSize:
    """What bounds a task's prompt and its work, whatever its inputs are.

    Attributes:
        texts: messages that are no histories.
        histories: messages that are.
        characters: of all messages.
        placeholders: no fewer than there are in them.
        likely: about as many as there are.
        inputs: values that the task reads.
        outputs: places that its answer goes into.
        keys: characters of its inputs' keys, which literals stand in.
    """

    texts: int
    histories: int
    characters: int
    placeholders: int
    likely: int
    inputs: int
    outputs: int
    keys: int

    @classmethod
    def of(cls, task: WorkflowTask) -> TaskSize:
        """Measure a task."""
        histories = characters = placeholders = likely = 0
        for message in task.messages:
            content = message.content
            histories += message.role == "history"
            characters += len(content)
            placeholders += content.count("{")
            likely += content.count("{{")
        return cls(
            texts=len(task.messages) - histories,
            histories=histories,
            characters=characters,
            placeholders=placeholders,
            likely=likely,
            inputs=len(task.inputs),
            outputs=len(task.outputs),
            keys=sum([len(part.value.key) for part in task.inputs]),
        )


class Condition(Part):
    """A comparison after a task: met leads to the step's target, else to `target_if_not`."""

    input: InputValue
    expected: Text
    expression: Expression
    target_if_not: str


class Step(Part):
    """An edge: after the task `source` comes `target`, or `fallback` if the task failed."""

    source: str
    target: str
    condition: Condition | None = None
    fallback: str | None = None


class PostProcess(Part):
    """A change to the returned text."""

    process_type: PostProcessType
    lhs: Text | None = None
    rhs: Text | None = None


class ReturnValue(Part):
    """What a run returns."""

    input: InputValue | tuple[InputValue, ...]
    to_json: bool | None = None
    post_process: tuple[PostProcess, ...] = ()


class Config(Part):
    """Limits of a run: steps, seconds of generation, tokens of one message."""

    max_steps: Whole = Field(ge=0)
    max_time: Whole = Field(ge=0)
    max_tokens: Whole | None = Field(default=None, ge=0)
    tools: tuple[str, ...] = ()
    custom_tools: tuple[Json, ...] | None = None
