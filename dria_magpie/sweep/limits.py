"""When a sweep ends before its plan does."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.sweep.recipe import Limits


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


def limit_reached(limits: Limits, spent: Spent) -> str:
    """Say which limit is used up, "" if none is; rows are counted where they begin."""
    for name in ("tokens", "seconds"):
        most = getattr(limits, name)
        if most is not None and getattr(spent, name) >= most:
            return f"limits.{name} = {most:,} is used up"
    return ""
