"""SQLite, opened so that it survives a kill."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

from dria_magpie.errors import DriaMagpieError, StoreError
from dria_magpie.gateway.store.errors import describe_damaged, telling_errors

FILE = "gateway.sqlite"
APPLICATION = 1146246487
VERSION = 1
# `gateway key` writes while the gateway does; neither takes long.
_PATIENCE = 10.0


def open_store(path: Path) -> sqlite3.Connection:
    """Open the store of a gateway, made anew if there is none, and check that it is whole.

    Raises:
        StoreError: it is damaged, held by another process, or not a store of this version.
        DriaMagpieError: it cannot be made.
    """
    make_private(path)
    with telling_errors(path), _keeping_log(path):
        return _open(path, check=True)


@contextmanager
def store_opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the store of a gateway that may be running, for something short; nothing is checked.

    A log that a kill has left is there afterwards, for the gateway, which checks before it merges.

    Raises:
        StoreError: as `open_store`, and from what is done with the store.
        DriaMagpieError: it cannot be made.
    """
    make_private(path)
    with telling_errors(path), _keeping_log(path), closing(_open(path, check=False)) as connection:
        yield connection


def make_private(path: Path) -> None:
    """Make a file that is for its owner's eyes, if it is not there.

    Raises:
        DriaMagpieError: it cannot be made.
    """
    # SQLite gives its other files the permissions of this one. Closing it would take away locks
    # that this process has on it already, so this comes before SQLite has it open.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DriaMagpieError(f"cannot open {path}: {error.strerror or error}") from error


@contextmanager
def _keeping_log(path: Path) -> Iterator[None]:
    """Have a log that a kill has left stay beside the file until this is left.

    SQLite merges it into the file, damaged or not, when the last connection is closed. One that
    only reads cannot do that, and while it is open, none is the last one.
    """
    if not path.with_name(f"{path.name}-wal").exists():
        yield
        return
    with closing(_connect(path, "ro")) as reader:
        _is_empty(reader)  # only one that has read something counts
        yield


def _open(path: Path, *, check: bool) -> sqlite3.Connection:
    connection = _connect(path, "rw")
    try:
        _create_if_empty(connection)
        _check_version(path, connection)
        if check:
            _check_whole(path, connection)
            _check_texts(connection)
        # A kill of the process loses nothing then; a power cut may lose the last moment.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_PATIENCE, isolation_level=None
    )
    # Python's own error for bytes that are no text quotes them, and they may be somebody's prompt.
    connection.text_factory = bytes.decode
    return connection


def _create_if_empty(connection: sqlite3.Connection) -> None:
    if not _is_empty(connection):
        return
    schema = files("dria_magpie.gateway.store").joinpath("schema.sql").read_text("utf-8")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):  # nobody else was faster
            for statement in schema.split(";\n"):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_empty(connection: sqlite3.Connection) -> bool:
    [number] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not number


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise StoreError(f"{path} is not the store of a gateway; take another directory with --dir")
    if version != VERSION:
        raise StoreError(
            f"{path} was made by another version of dria-magpie (format {version}, "
            f"here {VERSION}); run it with that version, or take another directory with --dir"
        )


def _check_whole(path: Path, connection: sqlite3.Connection) -> None:
    [finding] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise StoreError(describe_damaged(path, finding))


def _check_texts(connection: sqlite3.Connection) -> None:
    # For SQLite, any bytes are a text. The gateway cannot begin without these; the long ones are
    # left until they are needed, as clients wait for its start.
    for texts in ("name, digest FROM keys", "id, models FROM tasks"):
        for _ in connection.execute(f"SELECT {texts}"):
            pass
