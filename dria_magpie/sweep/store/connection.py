"""SQLite, opened so that it survives a kill, and its errors in words that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from dria_magpie.errors import StoreError

APPLICATION = 1146246480
VERSION = 1
# A reader or a backup may hold the store for a moment, which is no reason to give up.
PATIENCE = 10.0


@contextmanager
def telling_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_explain(path, error)) from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a store, made anew if there is none, and check that it is whole.

    Raises:
        StoreError: it is damaged, held by another process, or not a store of this version.
    """
    with telling_errors(path):
        if path.is_file() and path.stat().st_size:
            _check_before_writing(path)
        connection = _connect(f"{path.absolute().as_uri()}?mode=rwc")
        try:
            if _is_empty(connection):
                _create(connection)
            _check_version(path, connection)
            # A kill of the process loses nothing then; a power cut may lose the last turns.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
    return connection


def _check_before_writing(path: Path) -> None:
    # A connection that may write would merge the log into a damaged file when it is closed.
    connection = _connect(f"{path.absolute().as_uri()}?mode=ro")
    try:
        if not _is_empty(connection):
            _check_version(path, connection)
            _check_whole(path, connection)
    finally:
        connection.close()


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a store that another process may be writing to.

    Raises:
        StoreError: there is none, or it is damaged, or not of this version.
    """
    if not path.is_file():
        raise StoreError(f"{path.parent} has no sweep: there is no {path.name}")
    with telling_errors(path):
        connection = _connect(f"{path.absolute().as_uri()}?mode=ro")
        try:
            _check_version(path, connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)


def _is_empty(connection: sqlite3.Connection) -> bool:
    [number] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not number


def _create(connection: sqlite3.Connection) -> None:
    schema = files("dria_magpie.sweep.store").joinpath("schema.sql").read_text("utf-8")
    # In one transaction: a process that dies here leaves an empty file, not half a store.
    connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nCOMMIT;")


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise StoreError(f"{path} is not the store of a sweep; take another directory with -o")
    if version != VERSION:
        raise StoreError(
            f"{path} was made by another version of dria-magpie (format {version}, "
            f"here {VERSION}); finish it with that version"
        )


def _check_whole(path: Path, connection: sqlite3.Connection) -> None:
    [finding] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise StoreError(_damaged(path, finding))


def _explain(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return (
            f"another process holds {path}: close what has it open, then run the same command "
            "again; everything that was finished is kept"
        )
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}:
        return _damaged(path, str(error))
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


def _damaged(path: Path, finding: str) -> str:
    return (
        f"{path} is damaged ({finding}); nothing was changed. Keep a copy of it with its -wal "
        f"file, and save what can be saved: sqlite3 {path} .recover | sqlite3 saved.sqlite"
    )
