"""What the factories take, checked."""

from __future__ import annotations

from collections.abc import Mapping

from dria_magpie.errors import InvalidInputError
from dria_magpie.models import Sampling

# Waiting for an endpoint that is busy counts, and a dialogue that was paid for is not given up.
SECONDS_PER_MESSAGE = 3600
MOST_TURNS = 1_000_000
MOST_SHOWN = 80


def check_model(name: str, value: object) -> str | None:
    """Give the name of a model back, or None for whichever the task names.

    Raises:
        InvalidInputError: it is none; the message names the argument.
    """
    return None if value is None else check_text(name, value)


def read_sampling(name: str, value: object) -> Sampling:
    """Give a sampling, from itself or from a mapping of its names.

    Raises:
        InvalidInputError: it is none; the message names the argument.
    """
    if isinstance(value, Sampling):
        return value
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            f"{name} takes a Sampling, or a mapping of its names, not {show(value)}"
        )
    try:
        return Sampling.from_dict(value)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from error


def check_text(name: str, value: object) -> str:
    """Give a text back.

    Raises:
        InvalidInputError: it is none, or blank; the message names the argument.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(
            f'{name} takes a text, such as "A curious scientist", not {show(value)}'
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{name} is not valid text: {error}") from error
    return value


def check_turns(num_turns: object, name: str = "num_turns") -> int:
    """Give a number of turns back.

    Raises:
        InvalidInputError: it is none; the message names the argument.
    """
    return check_whole(name, num_turns, 1, MOST_TURNS)


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """Give a whole number back.

    Raises:
        InvalidInputError: it is none, or out of its range; the message names the argument.
    """
    if type(value) is not int:
        raise InvalidInputError(f"{name} takes a whole number, not {show(value)}")
    if not low <= value <= high:
        raise InvalidInputError(f"{name} takes {low} to {high:,}, not {show(value)}")
    return value


def check_switch(name: str, value: object) -> bool:
    """Give True or False back.

    Raises:
        InvalidInputError: it is neither; the message names the argument.
    """
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} takes True or False, not {show(value)}")
    return value


def show(value: object) -> str:
    """Give a value as an error shows it."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number down that has thousands of digits
        return "a number that is far too large"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
