"""How far a sweep has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dria_magpie.sweep.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a sweep has come, over every session.

    Attributes:
        rows: rows in the plan.
        done: rows that are finished.
        failed: rows that failed for good.
        failed_by_reason: the same by the name of the error.
        running: rows that are being made, or, while nobody makes the sweep, that were begun.
        turns: messages that were generated.
        prompt_tokens: tokens of all prompts.
        completion_tokens: tokens that were generated.
        seconds: time in which the sweep ran.
        tokens_per_second: generated tokens a second, over the last minute of the last session.
        eta_seconds: how long it will take at the pace of the last minute; None if that is not
            known, or nobody makes the sweep.
        active: whether a process makes the sweep now.
        ending: how the last session ended; "" while it goes on, or if it was killed.
    """

    rows: int
    done: int = 0
    failed: int = 0
    failed_by_reason: Mapping[str, int] = field(default_factory=dict)
    running: int = 0
    turns: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    eta_seconds: float | None = None
    active: bool = False
    ending: str = ""

    @property
    def left(self) -> int:
        """Rows that have not ended."""
        return max(self.rows - self.done - self.failed, 0)

    def evolve(self, **changes: Any) -> Status:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON object."""
        return {**asdict(self), "left": self.left}


def read_status(store: Store, *, active: bool) -> Status:
    """Read how far a sweep has come.

    Args:
        store: its store.
        active: whether a process makes it now.

    Raises:
        StoreError: the store cannot be read.
    """
    counts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    sums = [0, 0, 0]
    for status, reason, number, *amounts in store.query(
        "SELECT status, reason, count(*), sum(turns), sum(prompt_tokens), "
        "sum(completion_tokens) FROM rows GROUP BY status, reason"
    ):
        counts[status] = counts.get(status, 0) + number
        if status == "failed":
            reasons[reason] = number
        sums = [total + amount for total, amount in zip(sums, amounts, strict=True)]
    planned = int(store.fact("planned") or 0)
    pace = store.query(
        "SELECT tokens_per_second, rows_per_second, ending FROM sessions "
        "ORDER BY number DESC LIMIT 1"
    )
    [(seconds,)] = store.query("SELECT total(seconds) FROM sessions")
    tokens, rows, ending = pace[0] if pace else (0.0, 0.0, "")
    left = planned - counts.get("done", 0) - counts.get("failed", 0)
    return Status(
        rows=planned,
        done=counts.get("done", 0),
        failed=counts.get("failed", 0),
        failed_by_reason=reasons,
        running=counts.get("running", 0),
        turns=sums[0],
        prompt_tokens=sums[1],
        completion_tokens=sums[2],
        seconds=seconds,
        tokens_per_second=tokens,
        eta_seconds=left / rows if active and rows else None,
        active=active,
        ending="" if active else ending,
    )
