"""API keys, as the store has them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key, without the key. Times are seconds since 1970.

    Attributes:
        number: which is never given to another one.
        name: as people call it.
        digest: SHA-256 of the key, in hex.
        created: when it was made.
        used: when it was last used, give or take a minute; None if never.
        waiting: how many of its tasks have not reached their client.
    """

    number: int
    name: str
    digest: str = field(repr=False)
    created: float
    used: float | None = None
    waiting: int = 0


def read_keys(connection: sqlite3.Connection) -> tuple[ApiKey, ...]:
    """Give all keys of a store that is open; their tasks are not counted."""
    found = connection.execute(
        "SELECT number, name, digest, created, used FROM keys ORDER BY number"
    )
    names = [column[0] for column in found.description]
    return tuple(ApiKey(**dict(zip(names, row, strict=True))) for row in found)
