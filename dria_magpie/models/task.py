"""What a user hands in and gets back: `Task` and `TaskResult`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from dria_magpie.errors import DriaMagpieError, InvalidInputError
from dria_magpie.models.turn import Turn


@dataclass(frozen=True, kw_only=True)
class Task:
    """A workflow to run, and the models that may run it.

    Attributes:
        workflow: the graph, as a dict (Dria's v1 workflow format) or as an object with
            ``model_dump``, such as `Workflow` or that of ``dria_workflows``.
        models: names of models, any of which will do; empty for whatever is served.
        id: a name of your own; drawn if not given.
        step_name: handed through to the result.
        pipeline_id, dataset_id, public_key, private_key, deadline, created_ts, filter, nodes,
            processed: taken so that programs written for the ``dria`` SDK run; not used.

    Raises:
        InvalidInputError: `models` is not a list of names.

    Example::

        Task(workflow=MagPie().workflow("A chemist", "A cook"), models=[Model.SMOLLM2_135M])
    """

    workflow: Any
    models: Sequence[str] = ()
    id: str | None = None
    step_name: str = ""
    pipeline_id: str = ""
    dataset_id: str | None = None
    public_key: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    deadline: str = ""
    created_ts: str = ""
    filter: Mapping[str, Any] = field(default_factory=dict, repr=False)
    nodes: Sequence[str] = ()
    processed: bool = False
    name: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        models: Any = self.models
        listed = isinstance(models, Iterable) and not isinstance(models, str)
        models = tuple(models) if listed else (models,)
        if not listed or not all(isinstance(model, str) for model in models):
            raise InvalidInputError(
                f"models takes a list of model names, not {self.models!r}; "
                "for example models=[Model.SMOLLM2_135M]"
            )
        names = tuple(str(getattr(model, "value", model)) for model in models)
        object.__setattr__(self, "models", names)
        object.__setattr__(self, "name", self.id)
        if self.id is None:
            object.__setattr__(self, "id", secrets.token_hex(16))

    @property
    def key(self) -> str:
        """The task's id, which is never None once the task exists."""
        return str(self.id)

    def evolve(self, **changes: Any) -> Task:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)

    def log_context(self) -> dict[str, Any]:
        """Give what a log line says of the task: never personas, never text."""
        return {"task_id": self.id, "models": list(self.models), "step_name": self.step_name}


def _copy_error(error: DriaMagpieError) -> DriaMagpieError:
    twin = copy(error)
    twin.__cause__ = error.__cause__
    return twin


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What became of a task.

    Attributes:
        id: the task's id.
        result: the workflow's return value: a text, or the text of a JSON array. None on failure.
        model: the model that really ran; several are joined by ``", "``.
        error: why the task failed for good; None if it did not.
        turns: every generation of the run, oldest first; those before a failure too.
        node: the address of the node that ran it; ``local`` in the same process.
        seconds: time spent generating, summed over resumed runs.
        task_input: the workflow's external memory.
        step_name: the task's.
    """

    id: str
    result: str | None = None
    model: str = ""
    error: DriaMagpieError | None = None
    turns: tuple[Turn, ...] = ()
    node: str = "local"
    seconds: float = 0.0
    task_input: Mapping[str, Any] = field(default_factory=dict, repr=False)
    step_name: str = ""

    def __post_init__(self) -> None:
        if self.error is not None:
            # One exception may end several runs, and each tells of its own turns.
            error = self.error if self.error.result is None else _copy_error(self.error)
            error.result = self
            object.__setattr__(self, "error", error)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(turn.prompt_tokens for turn in self.turns)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that came from the engine's prefix cache."""
        return sum(turn.cached_tokens for turn in self.turns)

    @property
    def completion_tokens(self) -> int:
        """Tokens that were generated."""
        return sum(turn.completion_tokens for turn in self.turns)

    @property
    def truncated(self) -> tuple[int, ...]:
        """Positions in `turns` of messages that were cut off at their token cap."""
        return tuple(i for i, turn in enumerate(self.turns) if turn.finish_reason == "length")
