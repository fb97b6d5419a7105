"""How far a sweep has come."""

from __future__ import annotations

from collections import Counter
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
        failed_by_reason: the same by reason; see `Row.reason`.
        examples: for each reason what one of the errors said.
        running: rows that are being made now.
        begun: rows that were begun and have not ended, the running ones included.
        turns: messages that were generated.
        cut_off: messages that were cut off at their token cap.
        prompt_tokens: tokens of all prompts.
        completion_tokens: tokens that were generated.
        seconds: time in which the sweep ran.
        tokens_per_second: generated tokens a second, over the last minute of the last session.
        quiet_seconds: time since the last turn of the last session.
        eta_seconds: how long it will take at the pace of the last minute; None if that is not
            known, or nobody makes the sweep.
        active: whether a process makes the sweep now.
        ending: how the last session ended; "" while it goes on, or if it was killed.
    """

    rows: int
    done: int = 0
    failed: int = 0
    failed_by_reason: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    running: int = 0
    begun: int = 0
    turns: int = 0
    cut_off: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    quiet_seconds: float = 0.0
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
    counts: Counter[str] = Counter()
    reasons: dict[str, int] = {}
    examples: dict[str, str] = {}
    sums = [0, 0, 0, 0]
    for status, reason, example, number, *amounts in store.query(
        "SELECT status, reason, max(error), count(*), sum(turns), sum(cut_off), "
        "sum(prompt_tokens), sum(completion_tokens) FROM rows GROUP BY status, reason"
    ):
        counts[status] += number
        if status == "failed":
            reasons[reason], examples[reason] = number, example
        sums = [total + amount for total, amount in zip(sums, amounts, strict=True)]
    planned = int(store.fact("planned") or 0)
    last = store.query(
        "SELECT tokens_per_second, rows_per_second, quiet_seconds, ending FROM sessions "
        "ORDER BY number DESC LIMIT 1"
    )
    [(seconds,)] = store.query("SELECT total(seconds) FROM sessions")
    tokens, rows, quiet, ending = last[0] if last else (0.0, 0.0, 0.0, "")
    left = planned - counts["done"] - counts["failed"]
    return Status(
        rows=planned,
        done=counts["done"],
        failed=counts["failed"],
        failed_by_reason=reasons,
        examples=examples,
        running=counts["running"] if active else 0,
        begun=counts["running"],
        turns=sums[0],
        cut_off=sums[1],
        prompt_tokens=sums[2],
        completion_tokens=sums[3],
        seconds=seconds,
        tokens_per_second=tokens,
        quiet_seconds=quiet,
        eta_seconds=left / rows if active and rows else None,
        active=active,
        ending="" if active else ending,
    )
