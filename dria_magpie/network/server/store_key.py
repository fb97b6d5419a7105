"""The key that a network's store is encrypted with: never on the disk, and always the same one."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path

from dria_magpie.errors import DriaMagpieError, InvalidInputError
from dria_magpie.network.server.config import STORE_KEY
from dria_magpie.network.server.files import write_file
from dria_magpie.network.server.layout import Layout

_FILE = "store-key.json"
_LEAST = 16
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


def read_store_key(files: Layout) -> str:
    """Give the key from the environment.

    A broker that is given another key leaves out what it cannot read, as if it had never been; so
    a hash is kept of the one that the store is made with.

    Args:
        files: where the store is.

    Raises:
        InvalidInputError: it is not set, too short, or not the one that the store is made with.
        DriaMagpieError: the hash cannot be read or written.
    """
    key = os.environ.get(STORE_KEY, "")
    if not key:
        raise InvalidInputError(
            f"{STORE_KEY} is not set: what the network keeps is encrypted with it, and is lost "
            f"without it. Make it once, keep it in a safe place, and set it before each start: "
            f"export {STORE_KEY}=$(openssl rand -hex 32)"
        )
    if len(key) < _LEAST or not key.isascii() or not key.isprintable():
        raise InvalidInputError(
            f"{STORE_KEY} takes {_LEAST} or more printable ASCII characters, as `openssl rand -hex "
            "32` makes them"
        )
    file = files.keys / _FILE
    if file.exists() and any(files.store.iterdir()):
        _check(key, file)
    else:
        salt = os.urandom(16)
        write_file(file, json.dumps({"salt": salt.hex(), "digest": _hash(key, salt).hex()}) + "\n")
    return key


def quote_store_key(key: str) -> str:
    """Give the key as the broker reads variables: as a piece of configuration."""
    return json.dumps(key)


def _check(key: str, file: Path) -> None:
    try:
        known = json.loads(file.read_text())
        salt, digest = (bytes.fromhex(known[name]) for name in ("salt", "digest"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DriaMagpieError(f"{file} cannot be read: {error}") from error
    if not hmac.compare_digest(_hash(key, salt), digest):
        raise InvalidInputError(
            f"{STORE_KEY} is not the key that this network's store is encrypted with; set the one "
            "from its first start"
        )


def _hash(key: str, salt: bytes) -> bytes:
    return hashlib.scrypt(key.encode(), salt=salt, **_SCRYPT)
