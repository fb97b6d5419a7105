"""SQLite, opened so that it survives a kill."""

from __future__ import annotations

import os
import sqlite3
from importlib.resources import files
from pathlib import Path

from dria_magpie.errors import DriaMagpieError, StoreError
from dria_magpie.gateway.store.errors import describe_damaged, telling_errors

FILE = "gateway.sqlite"
APPLICATION = 1146246487
VERSION = 1
# `gateway key` writes while the gateway does; neither takes long.
_PATIENCE = 10.0


def open_store(path: Path, *, check: bool = False) -> sqlite3.Connection:
    """Open the store of a gateway, made anew if there is none.

    Args:
        path: the file.
        check: whether to read all of it, to see that it is whole.

    Raises:
        StoreError: it is damaged, held by another process, or not a store of this version.
        DriaMagpieError: it cannot be made.
    """
    make_private(path)
    with telling_errors(path):
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
        try:
            _create_if_empty(connection)
            _check_version(path, connection)
            if check:
                _check_whole(path, connection)
            # A kill of the process loses nothing then; a power cut may lose the last moment.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    return connection


def make_private(path: Path) -> None:
    """Make a file that is for its owner's eyes, if it is not there.

    Raises:
        DriaMagpieError: it cannot be made.
    """
    # SQLite gives its other files the permissions of this one.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DriaMagpieError(f"cannot open {path}: {error.strerror or error}") from error


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
