"""Counts rows while they stream past, for the card."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dria_magpie.sweep.export.columns import Record
from dria_magpie.sweep.row import Row


@dataclass(slots=True)
class Spread:
    """Sum and range of a figure over rows."""

    total: int = 0
    least: int | None = None
    most: int = 0

    def add(self, value: int) -> None:
        """Count one row."""
        self.total += value
        self.least = value if self.least is None else min(self.least, value)
        self.most = max(self.most, value)


@dataclass(slots=True)
class Tally:
    """What the card says of the rows.

    Attributes:
        rows: dialogues that were written.
        models: rows by model.
        messages: messages a row.
        prompt_tokens: prompt tokens a row.
        completion_tokens: generated tokens a row.
        cut_off: messages that ran into the limit of tokens.
        arrow_bytes: about the size in memory, as the hub states it.
        example: the first row.
    """

    rows: int = 0
    models: Counter[str] = field(default_factory=Counter)
    messages: Spread = field(default_factory=Spread)
    prompt_tokens: Spread = field(default_factory=Spread)
    completion_tokens: Spread = field(default_factory=Spread)
    cut_off: int = 0
    arrow_bytes: int = 0
    example: Row | None = None

    def add(self, row: Row, size: int) -> None:
        """Count a row whose record takes so many bytes in memory."""
        self.rows += 1
        self.models[row.model] += 1
        self.messages.add(len(row.messages))
        self.prompt_tokens.add(row.prompt_tokens)
        self.completion_tokens.add(row.completion_tokens)
        self.cut_off += row.finish_reasons.count("length")
        self.arrow_bytes += size
        self.example = self.example or row


def count_bytes(record: Record) -> int:
    """Say how many bytes a record takes in Arrow: texts, whole numbers and 32-bit offsets."""
    return sum(map(_count, record.values()))


def _count(value: Any) -> int:
    if isinstance(value, int):
        return 8
    if isinstance(value, str):
        return 4 + len(value.encode())
    return 4 + sum(_count(part) for item in value for part in _parts(item))


def _parts(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, dict) else [item]
