"""What the factories take, checked."""

from __future__ import annotations

from collections.abc import Mapping

from dria_magpie.errors import InvalidInputError
from dria_magpie.models import Sampling
from dria_magpie.workflow.parts import WorkflowTask

# Waiting for an endpoint that is busy counts, and a dialogue that was paid for is not given up.
SECONDS_PER_MESSAGE = 3600
MOST_TURNS = 1_000_000


def cast(task: WorkflowTask, sampling: object, model: object) -> WorkflowTask:
    """Give a task with its own sampling and model.

    Raises:
        InvalidInputError: they are none.
    """
    if sampling is None and model is None:
        return task
    if isinstance(sampling, Mapping):
        sampling = Sampling.from_dict(sampling)
    if sampling is not None and not isinstance(sampling, Sampling):
        raise InvalidInputError(f"{task.id}_sampling takes a Sampling, not {sampling!r}")
    name = None if model is None else check_text(f"{task.id}_model", model)
    return task.model_copy(update={"sampling": sampling, "model": name})


def check_text(name: str, value: object) -> str:
    """Give a text back.

    Raises:
        InvalidInputError: it is none, or blank; the message names the argument.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(
            f'{name} takes a text, such as "A curious scientist", not {value!r:.80}'
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{name} is not valid text: {error}") from error
    return value


def check_turns(num_turns: object) -> int:
    """Give a number of turns back.

    Raises:
        InvalidInputError: it is none.
    """
    if type(num_turns) is not int or not 1 <= num_turns <= MOST_TURNS:
        given = num_turns if type(num_turns) is not int or abs(num_turns) < 10**9 else "more"
        raise InvalidInputError(f"num_turns takes 1 to {MOST_TURNS:,}, not {given!r}")
    return num_turns
