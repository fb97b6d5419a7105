"""Telling rows that fail from a sweep that cannot go on."""

from __future__ import annotations

from typing import Generic, TypeVar

from dria_magpie.errors import DriaMagpieError
from dria_magpie.sweep.retry import RowRetry

Failure = TypeVar("Failure")
MOST_IN_A_ROW = 20


class Outage(Generic[Failure]):
    """Holds failures back until it is clear whether they are the rows' own.

    An endpoint that dies at night would fail every row that is left. So a failure that may be the
    endpoint's counts only once a turn was finished after it. Too many of them without one are an
    outage: the sweep ends, and those rows are as unfinished as before. As long as nothing has ever
    worked, that is true of every failure, and one of the setup is enough.

    Args:
        works: whether a turn was ever finished, in an earlier session for example.
    """

    def __init__(self, *, works: bool) -> None:
        self._held: list[Failure] = []
        self._real: list[Failure] = []
        self._works = works

    def add(self, failure: Failure, error: DriaMagpieError, retry: RowRetry) -> str:
        """Take a failure; say why the sweep cannot go on, or "" if it can."""
        if retry.fault == "row" and self._works:
            self._real.append(failure)
            return ""
        self._held.append(failure)
        if retry.fault == "setup" and not self._works:
            return str(error)
        if len(self._held) >= MOST_IN_A_ROW:
            return f"{len(self._held)} rows failed, and none succeeded meanwhile; the last: {error}"
        return ""

    def turn_done(self) -> None:
        """Note that the sweep goes on, so that what failed before did so for itself."""
        self._works = True
        if self._held:
            self._real += self._held
            self._held = []

    def release(self) -> list[Failure]:
        """Give the failures that have turned out to be the rows' own."""
        real, self._real = self._real, []
        return real

    def release_all(self) -> list[Failure]:
        """Give all failures, once every row was tried."""
        held, self._held = self._held, []
        return self.release() + held
