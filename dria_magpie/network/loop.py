"""The event loop of a process that does nothing but serve a network."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# New objects between two searches for cycles, of which messages leave none: at Python's 700 the
# searches took a sixth of a hub's time.
_SEARCH_AFTER = 20_000
_CAUGHT = ("SIGINT", "SIGTERM", "SIGHUP")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, as `asyncio.run` does, on the faster loop where there is one."""
    gc.set_threshold(_SEARCH_AFTER, 20, 50)
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    numbers = [getattr(signal, name) for name in _CAUGHT]
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        return uvloop.run(main)
    finally:
        # uvloop leaves its own behind, which do nothing any more.
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
