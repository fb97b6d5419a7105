"""What ends a sweep before its plan does: a limit, someone who stops it, an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dria_magpie.errors import StoreError
from dria_magpie.sweep.ending import COMPLETE, Ending
from dria_magpie.sweep.limits import is_used_up, used_up
from dria_magpie.sweep.recipe import Limits
from dria_magpie.sweep.session import Session

T = TypeVar("T")
_TICK = 1.0


class Brake:
    """Says when to stop, and stops what cannot wait.

    Args:
        limits: what the sweep may use.
        session: counts what it uses.
        drain: has no further call begun.

    Attributes:
        ending: why the sweep ends; None while it goes on.
        drained: whether `drain` was called.
    """

    def __init__(self, limits: Limits, session: Session, drain: Callable[[], None]) -> None:
        self._limits = limits
        self._session = session
        self._drain = drain
        self._running: set[asyncio.Task[Any]] = set()
        self._is_cut_off = False
        self._at_the_end = COMPLETE
        self.ending: Ending | None = None
        self.drained = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        """How many rows are being made."""
        return len(self._running)

    def stop(self, ending: Ending) -> None:
        """Begin no further row and no further call; those under way finish, and are kept."""
        if self.ending is None:
            self.ending = ending
            if self._running:
                self._drain()
                self.drained = True

    def halt(self, ending: Ending) -> None:
        """Break off everything that is under way, too."""
        self.ending = self.ending or ending
        self._is_cut_off = True
        for task in self._running - {asyncio.current_task()}:
            task.cancel()

    def leave(self, ending: Ending) -> None:
        """Note why there will be no more rows, if nothing else has ended the sweep."""
        self.ending = self.ending or ending

    def finish(self) -> None:
        """Note that every row that was let in has ended."""
        self.ending = self.ending or self._at_the_end

    def check(self) -> None:
        """Stop if the tokens are used up."""
        if is_used_up(self._limits.tokens, self._session.spent.tokens):
            self.stop(used_up("tokens", self._limits.tokens))

    def let_in(self, numbers: Iterable[int]) -> Iterator[int]:
        """Give numbers of rows, as long as more of them may begin."""
        ended = self._session.spent.rows
        for position, number in enumerate(numbers):
            if is_used_up(self._limits.rows, ended + position):
                self._at_the_end = used_up("rows", self._limits.rows)
                return
            self.check()
            if self.ending:
                return
            yield number

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Tell the store of the session every second, and halt when its time is used up.

        Not after a turn: a slow call would overrun the time by far, and a session that is killed
        during one would forget how long it lasted.
        """
        self._tick()
        try:
            yield
        finally:
            if self._timer:
                self._timer.cancel()

    def _tick(self) -> None:
        loop, most = asyncio.get_running_loop(), self._limits.seconds
        wait = _TICK
        if most is not None:
            left = most - self._session.spent.seconds
            if left <= 0:
                self.halt(used_up("seconds", most))
            # A little later than the limit, so that the next session finds it used up.
            wait = min(wait, max(left, 0.0) + 0.01)
        try:
            self._session.write()
        except StoreError as error:
            self.halt(Ending("halted", str(error)))
        self._timer = loop.call_later(wait, self._tick)

    async def guard(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Make a row, in a task of its own; None if the sweep was halted meanwhile."""
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
