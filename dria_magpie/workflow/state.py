"""Where a run stands: a frozen value that is JSON, so that any process can carry the run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dria_magpie import errors
from dria_magpie.errors import DriaMagpieError, StateError, StepError
from dria_magpie.models import Turn
from dria_magpie.workflow.conditions import is_met
from dria_magpie.workflow.graph import Workflow
from dria_magpie.workflow.memory import Entry, Memory
from dria_magpie.workflow.parts import RESULT, Output, Step
from dria_magpie.workflow.plain import check_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionState:
    """Memory, position and counters of a run.

    Attributes:
        memory: what the run knows.
        step: position in the workflow's steps of the one that comes next; None at the end.
        steps_done: steps that were taken, failed ones included.
        seconds: time spent generating so far.
        seed: what the operator ``sample`` draws by.
        turns: every generation so far, oldest first.
        error: why the run failed for good; None if it did not.

    Example::

        state = ExecutionState.start(workflow)
        text = json.dumps(state.to_dict())
        state = ExecutionState.from_dict(json.loads(text))
    """

    memory: Memory
    step: int | None
    steps_done: int = 0
    seconds: float = 0.0
    seed: int = 0
    turns: tuple[Turn, ...] = ()
    error: DriaMagpieError | None = None

    @classmethod
    def start(cls, workflow: Workflow, *, seed: int = 0) -> ExecutionState:
        """Give the state before the first step."""
        return cls(memory=Memory.of(workflow), step=0 if workflow.steps else None, seed=seed)

    def current_step(self, workflow: Workflow) -> Step | None:
        """Give the step that comes next.

        Raises:
            StateError: the state points past the workflow's steps.
        """
        if self.step is None:
            return None
        if not 0 <= self.step < len(workflow.steps):
            raise StateError(f"the workflow has no step {self.step}; it is not this state's")
        return workflow.steps[self.step]

    def evolve(self, **changes: Any) -> ExecutionState:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)

    def with_turn(self, turn: Turn) -> ExecutionState:
        """Give the state with a generation on record; its time is added, the position stays."""
        # Spelt out, here and below, as `replace` takes three times as long.
        return ExecutionState(
            memory=self.memory,
            step=self.step,
            steps_done=self.steps_done,
            seconds=self.seconds + turn.seconds,
            seed=self.seed,
            turns=(*self.turns, turn),
            error=self.error,
        )

    def with_output(self, workflow: Workflow, text: str) -> ExecutionState:
        """Give the state after the current task answered: outputs stored, next step chosen."""
        return self._take(workflow, text, None)

    def with_answer(self, workflow: Workflow, turn: Turn) -> ExecutionState:
        """Give the state after a generation for the current task: on record, its text stored."""
        return self._take(workflow, turn.text, turn)

    def _take(self, workflow: Workflow, text: str, turn: Turn | None) -> ExecutionState:
        step = self.current_step(workflow)
        task = workflow.task(step.source) if step else None
        memory = self.memory
        try:
            for output in task.outputs if task else ():
                memory = _store(memory, output, text)
        except StepError as error:
            return self._record(turn).with_failure(workflow, error)
        return self._step_on(workflow, step, memory, turn)

    def _record(self, turn: Turn | None) -> ExecutionState:
        return self.with_turn(turn) if turn else self

    def step_on(self, workflow: Workflow) -> ExecutionState:
        """Give the state after the current task succeeded: its condition decides the next step."""
        return self._step_on(workflow, self.current_step(workflow), self.memory, None)

    def _step_on(
        self, workflow: Workflow, step: Step | None, memory: Memory, turn: Turn | None
    ) -> ExecutionState:
        if step is None:
            return self._record(turn)
        target = step.target
        if step.condition:
            value, memory = memory.access(step.condition.input)
            try:
                met = is_met(step.condition, value, memory)
            except StepError as error:
                # What the comparison popped is gone, as with the inputs of a failed task.
                return self._record(turn).evolve(memory=memory).with_failure(workflow, error)
            target = step.target if met else step.condition.target_if_not
        return ExecutionState(
            memory=memory,
            step=workflow.step_from(target),
            steps_done=self.steps_done + 1,
            seconds=self.seconds + turn.seconds if turn else self.seconds,
            seed=self.seed,
            turns=(*self.turns, turn) if turn else self.turns,
            error=self.error,
        )

    def with_failure(self, workflow: Workflow, error: DriaMagpieError) -> ExecutionState:
        """Give the state after the current task failed: at its fallback, or failed for good."""
        step = self.current_step(workflow)
        fallback = step.fallback if step else None
        return ExecutionState(
            memory=self.memory,
            step=workflow.step_from(fallback),
            steps_done=self.steps_done + 1,
            seconds=self.seconds,
            seed=self.seed,
            turns=self.turns,
            error=error if fallback is None else self.error,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON object."""
        error = self.error and {"kind": type(self.error).__name__, "message": str(self.error)}
        return {
            "memory": self.memory.to_dict(),
            "step": self.step,
            "steps_done": self.steps_done,
            "seconds": self.seconds,
            "seed": self.seed,
            "turns": [turn.to_dict() for turn in self.turns],
            "error": error,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ExecutionState:
        """Read what `to_dict` gave.

        Raises:
            StateError: a field is missing or of the wrong type.
        """
        try:
            return cls(
                memory=_read_memory(values["memory"]),
                step=None if values["step"] is None else _whole(values["step"]),
                steps_done=_whole(values["steps_done"]),
                seconds=_seconds(values["seconds"]),
                seed=_whole(values["seed"]),
                turns=tuple(Turn.from_dict(turn) for turn in _items(values["turns"])),
                error=_read_error(values.get("error")),
            )
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise StateError(f"not an execution state: {error!r}") from error


def _store(memory: Memory, output: Output, text: str) -> Memory:
    entry = text if output.value == RESULT else output.value
    match output.type:
        case "write":
            return memory.write(output.key, entry)
        case "push":
            return memory.push(output.key, entry)
        case "insert":
            return memory.insert(entry)


_MOST = 2**53


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise StateError(f"an execution state counts in whole numbers, not {value!r:.80}")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in {int, float} or not 0 <= value < _MOST:
        raise StateError(f"seconds is a time, not {value!r:.80}")
    return float(value)


def _items(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise StateError(f"an execution state has a list here, not {value!r:.80}")
    return value


def _entry(value: Any) -> Entry:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise StateError(f"memory holds texts and JSON objects only, not {value!r:.80}")
    check_json(value)
    return value


def _read_memory(values: Mapping[str, Any]) -> Memory:
    if not all(isinstance(chunk, str) for chunk in _items(values["files"])):
        raise StateError("the chunks of inserted texts are texts")
    return Memory(
        cache={key: _entry(value) for key, value in values["cache"].items()},
        stacks={key: tuple(map(_entry, _items(v))) for key, v in values["stacks"].items()},
        files=tuple(values["files"]),
    )


def _read_error(values: Mapping[str, Any] | None) -> DriaMagpieError | None:
    if values is None:
        return None
    kind = getattr(errors, str(values["kind"]), DriaMagpieError)
    known = isinstance(kind, type) and issubclass(kind, DriaMagpieError)
    return (kind if known else DriaMagpieError)(str(values["message"]))
