"""The event loop of a process that does nothing but serve a network."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# New objects between two searches for cycles, of which messages leave none: at Python's 700 the
# searches took a sixth of a hub's time.
_SEARCH_AFTER = 20_000


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, as `asyncio.run` does, on the faster loop where there is one."""
    gc.set_threshold(_SEARCH_AFTER, 20, 50)
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)
