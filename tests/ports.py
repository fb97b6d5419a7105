"""Ports that servers of tests may take."""

from __future__ import annotations

import random
import socket

# Below those that systems give to outgoing connections, one of which may come first
_RANGE = range(20_000, 30_000)


def find_ports() -> int:
    """Give a free port whose successor is free, too: a network takes two."""
    while True:
        port = random.choice(_RANGE)
        if _is_free(port) and _is_free(port + 1):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
