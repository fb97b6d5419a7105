"""One process at a time makes a sweep."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from dria_magpie.errors import StoreError
from dria_magpie.sweep.store.errors import telling_errors

_A_READER_LOOKS = 2.0


class RunLock:
    """Holds a run directory, until it is left or the process dies in whatever way.

    An open transaction on an empty SQLite file: the operating system gives it back at a kill, on
    every system that SQLite knows.

    Example::

        with RunLock(run_dir):
            ...
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._path = run_dir / "lock"
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        with telling_errors(self._path):
            connection = sqlite3.connect(
                self._path, timeout=_A_READER_LOOKS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                connection.close()
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                raise StoreError(
                    f"another process makes the sweep in {self._run_dir}; wait for its end, or "
                    "end it: everything that it finished is kept"
                ) from error
        self._connection = connection
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def is_held(self) -> bool:
        """Tell whether any process makes the sweep now."""
        if not self._path.exists():
            return False
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        finally:
            connection.close()
        return False
