"""Ctrl-C in two steps: once ends in good order, twice leaves now."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Interrupts:
    """Catches SIGINT, SIGTERM and SIGHUP while a coroutine runs in this task.

    Args:
        stop: called at the first one; if it gives False, as nothing is under way, and at the
            second one, the task is cancelled.

    Attributes:
        caught: whether there was one.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._task: asyncio.Task[object] | None = None
        self.caught = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            kind = getattr(signal, name, None)
            if kind is None or signal.getsignal(kind) is signal.SIG_IGN:
                continue  # as nohup has it
            try:
                asyncio.get_running_loop().add_signal_handler(kind, self._interrupt)
            except (NotImplementedError, RuntimeError, ValueError):
                return self  # Windows, or not the main thread: Python's own Ctrl-C remains
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The handlers stay until the loop ends: what is left to do is giving things back.
        self._stop = lambda: True

    def _interrupt(self) -> None:
        first, self.caught = not self.caught, True
        if not (first and self._stop()) and self._task:
            self._task.cancel()
