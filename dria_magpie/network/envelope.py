"""Several parts in one message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dria_magpie.errors import StateError


def join_parts(head: Mapping[str, Any], *parts: bytes) -> bytes:
    """Put parts of several lines each under one head."""
    sizes = [len(part) for part in parts]
    return b"".join([json.dumps({**head, "sizes": sizes}).encode(), b"\n", *parts])


def split_parts(payload: bytes) -> tuple[dict[str, Any], Sequence[bytes]]:
    """Take apart what `join_parts` gave.

    Raises:
        StateError: it is no such thing.
    """
    head, _, rest = payload.partition(b"\n")
    try:
        said = json.loads(head)
        sizes = said["sizes"]
        parts = []
        for size in sizes:
            parts.append(rest[:size])
            rest = rest[size:]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(f"not a message of the network: {error!r}") from error
    return said, parts
