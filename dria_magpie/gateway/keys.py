"""API keys: made, listed and revoked, while the gateway runs or not.

Of a key only its digest is kept, so that whoever reads the store cannot use it.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from dria_magpie.errors import InvalidInputError
from dria_magpie.gateway.store.connection import FILE, store_opened
from dria_magpie.gateway.store.keys import ApiKey, read_keys
from dria_magpie.network.server.files import make_directory

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PREFIX = "magpie-"
_SECRET_BYTES = 32


def digest_of(key: str) -> str:
    """Give what is kept of a key."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def create_key(directory: Path, name: str) -> str:
    """Make a key, and give it; it cannot be had again.

    Raises:
        InvalidInputError: the name cannot be one, or is taken.
        StoreError: the gateway's store cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"a key's name has up to 64 letters, digits, and _ . - inside; not {name!r:.80}"
        )
    make_directory(directory)
    key = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    with store_opened(directory / FILE) as connection:
        cursor = connection.execute(
            "INSERT OR IGNORE INTO keys (name, digest, created) VALUES (?, ?, ?)",
            (name, digest_of(key), time.time()),
        )
    if not cursor.rowcount:
        raise InvalidInputError(
            f"there is a key {name!r} already; take another name, or revoke that one first: "
            f"dria-magpie gateway key revoke {name}"
        )
    return key


def list_keys(directory: Path) -> tuple[ApiKey, ...]:
    """Give all keys in the order in which they were made.

    Raises:
        StoreError: the gateway's store cannot be used.
    """
    if not (directory / FILE).exists():
        return ()
    with store_opened(directory / FILE) as connection:
        waiting = dict(
            connection.execute("SELECT key, count(*) FROM tasks WHERE delivered IS NULL GROUP BY 1")
        )
        keys = read_keys(connection)
    return tuple(replace(key, waiting=waiting.get(key.number, 0)) for key in keys)


def revoke_key(directory: Path, name: str) -> int:
    """Make a key void, and drop its tasks; give how many had not reached their client.

    Raises:
        InvalidInputError: there is no such key.
        StoreError: the gateway's store cannot be used.
    """
    for key in list_keys(directory):
        if key.name == name:
            with store_opened(directory / FILE) as connection:
                connection.execute("DELETE FROM keys WHERE number = ?", (key.number,))
            return key.waiting
    raise InvalidInputError(f"there is no key {name!r:.80}; see dria-magpie gateway key list")
