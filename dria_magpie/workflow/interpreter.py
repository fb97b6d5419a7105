"""The interpreter: a pure state machine over a workflow and a state.

`advance` says what comes next; the caller makes the call, and its answer gives the next state.
There is no I/O here, no clock and no task: a run can stop after any turn and go on anywhere.

Example::

    state = ExecutionState.start(workflow)
    while True:
        match advance(workflow, state):
            case NextCall() as call:
                state = call.state.with_output(workflow, answer(call.request))
            case Moved(state):
                pass
            case Finished(text) | Failed(text):
                break
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from dria_magpie.errors import DriaMagpieError, LimitError, StepError
from dria_magpie.models import GenerationRequest, Sampling
from dria_magpie.workflow.graph import Workflow
from dria_magpie.workflow.memory import Value
from dria_magpie.workflow.parts import END, Operator, WorkflowTask
from dria_magpie.workflow.render import (
    check_length,
    is_small,
    render,
    render_messages,
    render_return,
)
from dria_magpie.workflow.schema import response_format
from dria_magpie.workflow.state import ExecutionState

SEEDS = 2**31
_NO_SAMPLING = Sampling()
MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class NextCall:
    """A generation is due.

    Attributes:
        task_id: the task that asks.
        request: what to ask; its model is "" unless the task names one.
        state: the state that the answer goes into; entries that the task popped are gone from it.
    """

    task_id: str
    request: GenerationRequest
    state: ExecutionState


@dataclass(frozen=True, slots=True)
class Due:
    """A generation is due, of which only the answer matters: see `foresee`.

    Attributes:
        task_id: the task that asks.
        state: the state that the answer goes into.
    """

    task_id: str
    state: ExecutionState


@dataclass(frozen=True, slots=True)
class Moved:
    """A step was taken that needed no model.

    Attributes:
        state: the state after it.
    """

    state: ExecutionState


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is complete.

    Attributes:
        text: the workflow's return value.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended without a return value.

    Attributes:
        error: why.
    """

    error: DriaMagpieError


Outcome = NextCall | Moved | Finished | Failed
# No fewer than the characters and the entries that a state's memory holds.
_Bounds = tuple[int, int]


def advance(workflow: Workflow, state: ExecutionState) -> Outcome:
    """Say what comes next in a run.

    Raises:
        StateError: the state points past the workflow's steps.
    """
    return cast("Outcome", _advance(workflow, state, None))


def foresee(workflow: Workflow, state: ExecutionState, held: int, entries: int) -> Outcome | Due:
    """Say the same, for a run whose answers are known already: its prompts are not written.

    A call whose prompt might be too large, or that takes a schema, comes as `advance` has it.

    Args:
        workflow: the graph.
        state: where the run stands.
        held: no fewer than the characters that the state's memory holds, each entry rendered.
        entries: no fewer than its entries.

    Raises:
        StateError: the state points past the workflow's steps.
    """
    return _advance(workflow, state, (held, entries))


def _advance(workflow: Workflow, state: ExecutionState, bounds: _Bounds | None) -> Outcome | Due:
    if state.error:
        return Failed(state.error)
    config = workflow.config
    if int(state.seconds) >= config.max_time:
        return Failed(LimitError(f"max_time reached: {config.max_time} s of generation"))
    if state.steps_done >= config.max_steps:
        return Failed(LimitError(f"max_steps reached: {config.max_steps} steps"))
    step = state.current_step(workflow)
    if step is None or step.source == END:
        try:
            return Finished(render_return(workflow.return_value, state.memory))
        except StepError as error:
            return Failed(error)
    task = workflow.task(step.source)
    if task is None:
        return Failed(StepError(f"the workflow has no task {step.source!r}"))
    return _run(workflow, task, state, bounds)


def _run(
    workflow: Workflow, task: WorkflowTask, state: ExecutionState, bounds: _Bounds | None
) -> Moved | NextCall | Due:
    values, state, missing = _read_inputs(task, state)
    try:
        if missing is not None:
            raise StepError(f"task {task.id!r} requires the input {missing!r}, which is absent")
        match task.operator:
            case Operator.GENERATION:
                if bounds and _is_plain(workflow, task, bounds):
                    return Due(task.id, state)
                return NextCall(task.id, _request(workflow, task, values, state), state)
            case Operator.END:
                return Moved(state.step_on(workflow))
            case Operator.SAMPLE:
                return Moved(state.with_output(workflow, _sample(task, values, state)))
            case _:
                raise StepError(
                    f"task {task.id!r}: the operator {task.operator} has no backend in this "
                    "version; give its step a fallback, or use generation"
                )
    except StepError as error:
        return Moved(state.with_failure(workflow, error))


def _is_plain(workflow: Workflow, task: WorkflowTask, bounds: _Bounds) -> bool:
    return task.output_schema is None and is_small(workflow.size(task.id), *bounds)


def _read_inputs(
    task: WorkflowTask, state: ExecutionState
) -> tuple[dict[str, Value], ExecutionState, str | None]:
    """Read inputs in order, up to the first required one that is absent: its name comes last."""
    values: dict[str, Value] = {}
    missing = None
    memory = state.memory
    for part in task.inputs:
        value, memory = memory.access(part.value)
        if value is None and part.required:
            missing = part.name
            break
        values[part.name] = value
    if memory is not state.memory:
        state = state.evolve(memory=memory)
    return values, state, missing


def _request(
    workflow: Workflow, task: WorkflowTask, values: Mapping[str, Value], state: ExecutionState
) -> GenerationRequest:
    messages = render_messages(task, values)
    if not messages:
        raise StepError(f"task {task.id!r} has no message to send")
    sampling = task.sampling or _NO_SAMPLING
    changes: dict[str, int] = {}
    if sampling.max_tokens is None and workflow.config.max_tokens:
        changes["max_tokens"] = min(workflow.config.max_tokens, MOST_TOKENS)
    if sampling.seed is not None:
        changes["seed"] = (sampling.seed + state.steps_done) % SEEDS
    return GenerationRequest(
        model=task.model or "",
        messages=messages,
        sampling=sampling.evolve(**changes) if changes else sampling,
        response_format=response_format(task.output_schema),
        open_user_turn=bool(task.open_user_turn),
    )


def _sample(task: WorkflowTask, values: Mapping[str, Value], state: ExecutionState) -> str:
    """Append to the last message one random entry of each list that an input names."""
    messages = render_messages(task, values)
    text = messages[-1].content if messages else ""
    draw = random.Random(f"{state.seed}:{state.steps_done}")  # noqa: S311 - must be repeatable
    for name, value in values.items():
        if isinstance(value, tuple) and value:
            raise StepError(f"sample takes the name of a list; its input {name!r} is a list")
        key = render(value)
        entries = state.memory.stacks.get(key)
        if not entries:
            raise StepError(f"sample finds no list {key[:80]!r} with entries")
        text += f": {render(draw.choice(entries))}"
        check_length(len(text))
    return text
