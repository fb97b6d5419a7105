"""Values as text for the store, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dria_magpie.errors import StateError, StoreError
from dria_magpie.models import Turn
from dria_magpie.workflow import ExecutionState


def write_turn(turn: Turn) -> str:
    """Give a turn as JSON."""
    return _dump(turn.to_dict())


def read_turn(text: str) -> Turn:
    """Read what `write_turn` gave.

    Raises:
        StoreError: it is damaged.
    """
    try:
        return Turn.from_json(text)
    except (StateError, ValueError, RecursionError) as error:
        raise StoreError(f"a turn in the store is damaged: {error}") from error


def write_origin(origin: Mapping[str, str]) -> str:
    """Give what a row was made from as JSON."""
    return _dump(dict(origin))


def read_origin(text: str) -> Mapping[str, str]:
    """Read what `write_origin` gave.

    Raises:
        StoreError: it is damaged.
    """
    try:
        origin = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"the origin of a row in the store is damaged: {error}") from error
    if not isinstance(origin, dict) or not all(isinstance(said, str) for said in origin.values()):
        raise StoreError(f"the origin of a row in the store is damaged: {text:.80}")
    return origin


def write_state(state: ExecutionState) -> str:
    """Give a state as JSON, without its turns, which the store has already."""
    return _dump(state.evolve(turns=()).to_dict())


def read_state(text: str, turns: Iterable[Turn]) -> ExecutionState:
    """Read what `write_state` gave.

    Raises:
        StoreError: it is damaged.
    """
    try:
        return ExecutionState.from_dict(json.loads(text)).evolve(turns=tuple(turns))
    except (StateError, ValueError, RecursionError) as error:
        raise StoreError(f"the state of a row in the store is damaged: {error}") from error


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a character is kept as an escape: what a model said is never altered.
        return json.dumps(value, separators=(",", ":"))
    return text
