"""Telling rows that fail from a sweep that cannot go on."""

from __future__ import annotations

from typing import Generic, TypeVar

from dria_magpie.errors import DriaMagpieError
from dria_magpie.sweep.ending import Ending
from dria_magpie.sweep.retry import RowRetry

Failure = TypeVar("Failure")
MOST_IN_A_ROW = 20
# Prompts that are refused one by one may stand together; hundreds of them are something else.
MOST_OWN_IN_A_ROW = 200


class Outage(Generic[Failure]):
    """Holds failures back until it is clear whether they are the rows' own.

    An endpoint that dies at night would fail every row that is left. So a failure that may be the
    endpoint's counts only once a turn was finished after it. Too many of them without one are an
    outage: the sweep ends, and those rows are as unfinished as before. As long as nothing has ever
    worked, as many of the rows' own end it, too, and one of the setup is enough.

    Args:
        works: whether a turn was ever finished, in an earlier session for example.
    """

    def __init__(self, *, works: bool) -> None:
        self._held: list[Failure] = []
        self._real: list[Failure] = []
        self._own_in_a_row = 0
        self._works = works

    def add(self, failure: Failure, error: DriaMagpieError, retry: RowRetry) -> Ending | None:
        """Take a failure; say how the sweep ends by it, or None if it goes on."""
        if retry.fault == "row":
            return self._add_own(failure, error)
        self._held.append(failure)
        if retry.fault == "setup" and not self._works:
            return Ending("halted", str(error))
        if len(self._held) < MOST_IN_A_ROW:
            return None
        may_pass = self._works and retry.fault == "endpoint"
        said = _describe(len(self._held), error)
        return Ending("outage" if may_pass else "halted", said)

    def _add_own(self, failure: Failure, error: DriaMagpieError) -> Ending | None:
        self._real.append(failure)
        self._own_in_a_row += 1
        if self._own_in_a_row < (MOST_OWN_IN_A_ROW if self._works else MOST_IN_A_ROW):
            return None
        return Ending("halted", _describe(self._own_in_a_row, error))

    def turn_done(self) -> None:
        """Note that the sweep goes on, so that what failed before did so for itself."""
        self._works, self._own_in_a_row = True, 0
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


def _describe(number: int, error: DriaMagpieError) -> str:
    return f"{number} rows failed, and none succeeded meanwhile; the last: {error}"
