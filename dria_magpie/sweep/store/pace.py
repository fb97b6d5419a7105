"""How fast a session goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a session goes.

    Attributes:
        seconds: how long it has been going on.
        tokens_per_second: generated tokens a second over the last minute.
        rows_per_second: ended rows a second over the last minute.
        quiet_seconds: time since the last turn was finished, or since the session began.
    """

    seconds: float
    tokens_per_second: float
    rows_per_second: float
    quiet_seconds: float
