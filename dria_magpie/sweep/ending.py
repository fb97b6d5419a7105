"""Why a sweep ended, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a sweep ended.

    Attributes:
        kind: ``complete``: every row has ended; ``limit``: a limit of the recipe is used up;
            ``stopped``: someone stopped it; ``outage``: row after row failed, which may pass;
            ``halted``: it cannot go on as it is.
        reason: the same in words; "" if it is complete.
    """

    kind: Literal["complete", "limit", "stopped", "outage", "halted"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


SAMPLED = Ending("stopped", "a dry run makes only a few rows")
COMPLETE = Ending("complete")
STOPPED = Ending("stopped", "it was interrupted; what was finished is kept")
DRAINED = Ending("stopped", "its client was drained or closed by somebody else")
LEFT = Ending("stopped", "nobody took any more rows; what was finished is kept")
