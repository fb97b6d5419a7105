"""Files of a network's directory: whole or not there, and for their owner's eyes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

from dria_magpie.errors import DriaMagpieError


def write_file(path: Path, text: str) -> None:
    """Put a file in place, readable by its owner only.

    Raises:
        DriaMagpieError: it cannot be written; what was there before still is.
    """
    draft = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise DriaMagpieError(f"cannot write {path}: {error.strerror or error}") from error


def make_directory(path: Path) -> None:
    """Make a directory that only its owner can look into, if it is not there.

    Raises:
        DriaMagpieError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DriaMagpieError(f"cannot make {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def holding(path: Path, message: str, *, patience: float = 0) -> Iterator[None]:
    """Keep other processes out, until it is left or this process dies in whatever way.

    An open transaction on an empty SQLite file is given back by every operating system.

    Args:
        path: the file.
        message: what to say where another one holds it.
        patience: seconds to wait for the other one.

    Raises:
        DriaMagpieError: another one holds it, or the file cannot be made.
    """
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if connection:
            connection.close()
        busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        raise DriaMagpieError(message if busy else f"cannot use {path}: {error}") from error
    try:
        yield
    finally:
        connection.close()
