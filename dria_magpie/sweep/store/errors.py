"""SQLite's errors, in words that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dria_magpie.errors import StoreError

_HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextmanager
def telling_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_explain(path, error)) from error
    except UnicodeDecodeError as error:
        raise StoreError(describe_damaged(path, f"a text in it is none: {error}")) from error


def _explain(path: Path, error: sqlite3.Error) -> str:
    code = _code(error)
    if code in _HELD:
        return describe_held(path)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}:
        return describe_damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return (
            f"the disk with {path} is full: make room, then run the same command again; "
            "everything that was finished before is kept"
        )
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}:
        return f"cannot write {path}: {error}; check its permissions, and those of its directory"
    if code == sqlite3.SQLITE_IOERR:
        return (
            f"cannot read or write {path}: {error}; check the disk and the room on it, then run "
            "the same command again"
        )
    return f"{path}: {error}"


def _code(error: BaseException | None) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_held(error: StoreError) -> bool:
    """Tell whether a store cannot be used because another process holds it."""
    return _code(error.__cause__) in _HELD


def describe_held(path: Path) -> str:
    """Say that another process holds a store."""
    return (
        f"another process holds {path}: close what has it open, then run the same command again; "
        "everything that was finished is kept"
    )


def describe_damaged(path: Path, finding: str) -> str:
    """Say that a store is damaged, and how to save what can be saved."""
    return (
        f"{path} is damaged ({finding}); nothing was changed. Keep a copy of it with its -wal "
        f"file, and save what can be saved: sqlite3 {path} .recover | sqlite3 saved.sqlite"
    )
