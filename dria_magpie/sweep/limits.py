"""When a sweep ends before its plan does."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.sweep.ending import Ending


@dataclass(frozen=True, slots=True)
class Spent:
    """What a sweep has used, over every session.

    Attributes:
        rows: rows that have ended.
        tokens: tokens of prompts and completions.
        seconds: time in which it ran.
    """

    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0


def is_used_up(most: float | None, spent: float) -> bool:
    """Tell whether a limit, if there is one, leaves nothing."""
    return most is not None and spent >= most


def used_up(name: str, most: float | None) -> Ending:
    """Give the ending of a sweep at a limit."""
    number = f"{most:,}".removesuffix(".0")
    return Ending("limit", f"limits.{name} = {number} is used up")
