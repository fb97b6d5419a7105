"""`Store`: rows, turns and states of a run, in one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dria_magpie.errors import StoreError
from dria_magpie.models.text import clean_text
from dria_magpie.sweep.plan import PlannedRow
from dria_magpie.sweep.row import Row
from dria_magpie.sweep.store.connection import open_for_reading, open_for_writing
from dria_magpie.sweep.store.errors import describe_held, is_held, telling_errors
from dria_magpie.sweep.store.pace import Pace
from dria_magpie.sweep.store.text import write_origin, write_state, write_turn
from dria_magpie.workflow import ExecutionState

FILE = "store.sqlite"


class Store:
    """What a run has made so far. Every method that changes something commits it.

    Attributes:
        path: the file.
        is_held: somebody else held the file for longer than can be waited for, so that not every
            answer that comes meanwhile is to wait again.

    Raises:
        StoreError: from every method: the disk is full, the file damaged or held elsewhere.

    Example::

        with Store.open(run_dir) as store:
            store.begin(row)
            store.keep_turn(row.number, state)
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self.is_held = False

    @classmethod
    def open(cls, run_dir: Path) -> Self:
        """Open the store of a run for writing; it is made if there is none."""
        return cls(run_dir / FILE, open_for_writing(run_dir / FILE))

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Open the store of a run for reading, while it may be written to."""
        return cls(run_dir / FILE, open_for_reading(run_dir / FILE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; once is enough."""
        with telling_errors(self.path):
            self._connection.close()

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Do several things as one; ``DEFERRED`` is for reading a state that stands still."""
        if self.is_held:
            raise StoreError(describe_held(self.path))
        try:
            with telling_errors(self.path), self._begin(kind) as connection:
                yield connection
        except StoreError as error:
            self.is_held = is_held(error)
            raise

    @contextmanager
    def _begin(self, kind: str) -> Iterator[sqlite3.Connection]:
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk ends it by itself
                self._connection.execute("ROLLBACK")
            raise

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read rows of the file."""
        with telling_errors(self.path):
            return self._connection.execute(sql, values).fetchall()

    def fact(self, name: str) -> str | None:
        """Give what is known under a name."""
        found = self.query("SELECT value FROM facts WHERE name = ?", name)
        return found[0][0] if found else None

    def keep_facts(self, **facts: str) -> None:
        """Set what is known."""
        with self.transaction() as connection:
            for name, value in facts.items():
                connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def begin(self, row: PlannedRow) -> None:
        """Note that a row begins, so that it is known to be unfinished."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO rows (number, id, seed, origin) VALUES (?, ?, ?, ?)",
                (row.number, row.id, row.seed, write_origin(row.origin)),
            )

    def keep_turn(self, number: int, state: ExecutionState) -> None:
        """Keep the last turn of a row and where it stands now."""
        turn, position = state.turns[-1], len(state.turns) - 1
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO turns VALUES (?, ?, ?)",
                (number, position, write_turn(turn)),
            )
            connection.execute(
                "INSERT OR REPLACE INTO states VALUES (?, ?)", (number, write_state(state))
            )
            connection.execute(
                "UPDATE rows SET turns = ?, seconds = ?, prompt_tokens = prompt_tokens + ?, "
                "completion_tokens = completion_tokens + ?, cut_off = cut_off + ? "
                "WHERE number = ?",
                (
                    position + 1,
                    state.seconds,
                    turn.prompt_tokens,
                    turn.completion_tokens,
                    turn.finish_reason == "length",
                    number,
                ),
            )

    def begin_again(self, number: int, attempts: int, state: ExecutionState | None) -> None:
        """Note another attempt at a row: from its state, or without one from the start."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE rows SET status = 'running', attempts = ?, reason = '', error = '' "
                "WHERE number = ?",
                (attempts, number),
            )
            if state is None:
                connection.execute(
                    "UPDATE rows SET turns = 0, cut_off = 0 WHERE number = ?", (number,)
                )
                connection.execute("DELETE FROM turns WHERE row = ?", (number,))
                connection.execute("DELETE FROM states WHERE row = ?", (number,))

    def finish(self, row: Row) -> None:
        """Note that a row is done, or failed for good."""
        named = (row.model, row.node, row.reason, row.error)
        with self.transaction() as connection:
            connection.execute(
                "UPDATE rows SET status = ?, model = ?, node = ?, reason = ?, error = ? "
                "WHERE number = ?",
                (row.status, *map(clean_text, named), row.number),
            )
            if row.status == "done":
                connection.execute("DELETE FROM states WHERE row = ?", (row.number,))

    def take_up_failed(self) -> None:
        """Have the rows that failed count as begun, so that they are carried on."""
        with self.transaction() as connection:
            # Another attempt has seeds of its own: the same ones may end in the same way.
            connection.execute(
                "UPDATE rows SET status = 'running', attempts = attempts + 1, reason = '', "
                "error = '' WHERE status = 'failed'"
            )

    def begin_session(self) -> int:
        """Note that a session begins, and give its number."""
        with self.transaction() as connection:
            cursor = connection.execute("INSERT INTO sessions (started) VALUES (?)", (time.time(),))
            return cursor.lastrowid or 0

    def keep_session(self, number: int, pace: Pace, ending: str) -> None:
        """Keep how long a session has lasted, its pace, and how it ended."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE sessions SET seconds = ?, tokens_per_second = ?, rows_per_second = ?, "
                "quiet_seconds = ?, ending = ? WHERE number = ?",
                (
                    pace.seconds,
                    pace.tokens_per_second,
                    pace.rows_per_second,
                    pace.quiet_seconds,
                    clean_text(ending),
                    number,
                ),
            )

    def start_over(self) -> None:
        """Forget every row and session, as those of a dry run with another recipe."""
        with self.transaction() as connection:
            for table in ("rows", "turns", "states", "sessions"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
