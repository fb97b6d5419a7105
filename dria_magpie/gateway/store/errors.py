"""SQLite's errors, in words that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dria_magpie.errors import StoreError


@contextmanager
def telling_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_explain(path, error)) from error
    except UnicodeDecodeError as error:
        raise StoreError(describe_damaged(path, f"a text in it is none: {error}")) from error


def describe_damaged(path: Path, finding: str) -> str:
    """Say that a store is damaged, and what can be done."""
    return (
        f"{path} is damaged ({finding}); nothing was changed. Move it and its -wal file away, then "
        "put it back from a copy, or have the gateway begin anew: API keys have to be made again"
    )


def _explain(path: Path, error: sqlite3.Error) -> str:
    code = int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"another process holds {path}: close what has it open; everything in it is kept"
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}:
        return describe_damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return f"the disk with {path} is full: make room; everything that was accepted is kept"
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}:
        return f"cannot write {path}: {error}; check its permissions, and those of its directory"
    if code == sqlite3.SQLITE_IOERR:
        return f"cannot read or write {path}: {error}; check the disk and the room on it"
    return f"{path}: {error}"
