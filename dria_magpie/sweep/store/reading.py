"""What the store knows, read back as values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from dria_magpie.models import Turn
from dria_magpie.sweep.row import Row, make_messages
from dria_magpie.sweep.store.store import Store
from dria_magpie.sweep.store.text import read_origin, read_state, read_turn
from dria_magpie.workflow import ExecutionState

_AT_ONCE = 100
_COLUMNS = "number, id, seed, status, origin, model, node, attempts, seconds, reason, error"


@dataclass(frozen=True, slots=True)
class SavedRow:
    """A row that was begun.

    Attributes:
        number: its position in the plan.
        attempts: how often it was begun, or carried on after a failure, from 1.
        state: where it stands; None before its first turn.
    """

    number: int
    attempts: int = 1
    state: ExecutionState | None = None


def read_saved(store: Store, number: int) -> SavedRow:
    """Give a row that was begun.

    Raises:
        StoreError: its state is damaged.
    """
    [(attempts, state)] = store.query(
        "SELECT attempts, state FROM rows LEFT JOIN states ON row = number WHERE number = ?",
        number,
    )
    turns = _read_turns(store, number)
    return SavedRow(number, attempts, None if state is None else read_state(state, turns))


def read_unfinished(store: Store) -> list[int]:
    """Give the numbers of rows that were begun and did not end."""
    found = store.query("SELECT number FROM rows WHERE status = 'running' ORDER BY number")
    return [number for [number] in found]


def read_unbegun(store: Store, planned: int) -> Iterator[int]:
    """Give the numbers of rows that nobody has begun, one at a time.

    Args:
        store: the store.
        planned: how many rows the plan has.
    """
    # A row is missing among the begun ones if the store failed just when it was to begin.
    gaps = store.query(
        "SELECT before + 1, number FROM (SELECT number, lag(number, 1, -1) OVER (ORDER BY number) "
        "AS before FROM rows) WHERE number > before + 1"
    )
    [(following,)] = store.query("SELECT coalesce(max(number) + 1, 0) FROM rows")
    return chain.from_iterable(range(*gap) for gap in [*gaps, (following, planned)])


def read_rows(store: Store) -> Iterator[Row]:
    """Give the rows that have ended, one at a time in memory, in the plan's order.

    Raises:
        StoreError: a row is damaged.
    """
    following = 0
    while True:
        found = store.query(
            f"SELECT {_COLUMNS} FROM rows WHERE number >= ? "  # noqa: S608 - constants
            f"AND status != 'running' ORDER BY number LIMIT {_AT_ONCE}",
            following,
        )
        if not found:
            return
        for values in found:
            yield _make_row(values, _read_turns(store, values[0]))
        following = found[-1][0] + 1


def _read_turns(store: Store, number: int) -> tuple[Turn, ...]:
    found = store.query("SELECT turn FROM turns WHERE row = ? ORDER BY position", number)
    return tuple(read_turn(text) for [text] in found)


def _make_row(values: tuple[Any, ...], turns: tuple[Turn, ...]) -> Row:
    named = dict(zip(_COLUMNS.split(", "), values, strict=True))
    named["origin"] = read_origin(named["origin"])
    return Row(**named, turns=turns, messages=make_messages(turns))
