"""SQLite, opened so that it survives a kill."""

from __future__ import annotations

import os
import sqlite3
from importlib.resources import files
from pathlib import Path

from dria_magpie.errors import StoreError
from dria_magpie.sweep.store.errors import describe_damaged, telling_errors

APPLICATION = 1146246480
VERSION = 2
# A reader or a backup may hold the store for a moment, which is no reason to give up.
PATIENCE = 10.0


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
        if not _is_unmade(connection):
            _check_version(path, connection)
            _check_whole(path, connection)
    finally:
        connection.close()


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a store that another process may be writing to.

    Raises:
        StoreError: there is none, or it is damaged, or not of this version.
    """
    nothing = StoreError(f"{path.parent} has no sweep that has begun")
    if not path.is_file():
        raise nothing
    with telling_errors(path):
        connection = _connect(f"{path.absolute().as_uri()}?{_reading_mode(path)}")
        try:
            if _is_unmade(connection):
                raise nothing
            _check_version(path, connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _reading_mode(path: Path) -> str:
    log = path.with_name(f"{path.name}-wal")
    # On a disk that is read-only, SQLite cannot make the file that readers and writers share.
    still = not log.exists() and not os.access(path.parent, os.W_OK)
    return "mode=ro&immutable=1" if still else "mode=ro"


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
    # Python's own error for bytes that are no text quotes them, and calls it no damage.
    connection.text_factory = bytes.decode
    return connection


def _is_unmade(connection: sqlite3.Connection) -> bool:
    """Tell whether a kill has left the file before it was a store."""
    try:
        return _is_empty(connection)
    except sqlite3.OperationalError as error:
        # There is a journal of its making, which a connection that may write takes back.
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        return True


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
        raise StoreError(describe_damaged(path, finding))
