"""What ends a sweep before its plan does: a limit, someone who stops it, an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dria_magpie.sweep.ending import COMPLETE, Ending
from dria_magpie.sweep.limits import limit_reached
from dria_magpie.sweep.recipe import Limits
from dria_magpie.sweep.session import Session

T = TypeVar("T")


class Brake:
    """Says when to stop, and stops what cannot wait.

    Args:
        limits: what the sweep may use.
        session: counts what it uses.

    Attributes:
        ending: why the sweep ends; None while it goes on.
    """

    def __init__(self, limits: Limits, session: Session) -> None:
        self._limits = limits
        self._session = session
        self._running: set[asyncio.Task[Any]] = set()
        self._is_cut_off = False
        self._at_the_end = COMPLETE
        self.ending: Ending | None = None

    @property
    def running(self) -> int:
        """How many rows are being made."""
        return len(self._running)

    def stop(self, ending: Ending) -> None:
        """Begin no further row and no further turn; what runs ends after its turn."""
        self.ending = self.ending or ending

    def finish(self) -> None:
        """Note that every row that was let in has ended."""
        self.stop(self._at_the_end)

    def check(self) -> None:
        """Stop if a limit is used up."""
        reached = limit_reached(self._limits, self._session.spent)
        if reached:
            self.stop(Ending("limit", reached))

    def let_in(self, numbers: Iterable[int]) -> Iterator[int]:
        """Give numbers of rows, as long as more of them may begin."""
        most = self._limits.rows
        room = None if most is None else most - self._session.spent.rows
        for position, number in enumerate(numbers):
            if room is not None and position >= room:
                self._at_the_end = Ending("limit", f"limits.rows = {most:,} is used up")
                return
            self.check()
            if self.ending:
                return
            yield number

    @contextmanager
    def timer(self) -> Iterator[None]:
        """Break off everything when the time is used up, which a slow call would overrun by far."""
        if self._limits.seconds is None:
            yield
            return
        # A little later than the limit, so that the next session finds it used up.
        left = max(self._limits.seconds - self._session.spent.seconds, 0.0) + 0.01
        handle = asyncio.get_running_loop().call_later(left, self._cut_off)
        try:
            yield
        finally:
            handle.cancel()

    def _cut_off(self) -> None:
        self.check()
        self._is_cut_off = True
        for task in self._running:
            task.cancel()

    async def guard(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Make a row, in a task of its own; None if time ran out meanwhile."""
        task = asyncio.current_task()
        assert task  # noqa: S101 - coroutines run in tasks
        self._running.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._is_cut_off or task.uncancel():
                raise
            return None
        finally:
            self._running.discard(task)
