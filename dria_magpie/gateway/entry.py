"""A task and those that came with it, as the running gateway has them in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from dria_magpie.gateway.release import (
    MOST_TOGETHER,
    MOST_TOGETHER_SECONDS,
    TOGETHER_SECONDS,
    Standing,
)
from dria_magpie.gateway.store import Kept

# "sent" is between the answer's first byte and the knowledge of what became of it
Status = Literal["accepting", "waiting", "running", "done", "sent", "delivered"]


@dataclass(slots=True, eq=False)
class Burst:
    """Tasks of one key that came together. Times are the loop's.

    Attributes:
        number: which no other burst has.
        began: when the first task came.
        last: when the last one came.
        entries: the tasks, oldest first.
    """

    number: int
    began: float
    last: float
    entries: list[Entry] = field(default_factory=list)

    def standing(self) -> Standing:
        """Give how far the tasks are."""
        done = [entry for entry in self.entries if entry.is_done]
        return Standing(
            size=len(self.entries),
            done=len(done),
            released=sum(entry.status != "done" for entry in done),
            began=self.began,
            known_from=max((entry.known_from for entry in self.entries), default=self.began),
            progress=max((entry.finished for entry in done), default=self.began),
        )

    def takes(self, now: float) -> bool:
        """Tell whether a task that comes now belongs to these."""
        if len(self.entries) >= MOST_TOGETHER or now - self.began > MOST_TOGETHER_SECONDS:
            return False
        return now - self.last <= TOGETHER_SECONDS and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether all results are out."""
        return all(entry.is_done and entry.status != "done" for entry in self.entries)


@dataclass(slots=True, eq=False)
class Entry:
    """A task.

    Attributes:
        id: the client's name for it.
        burst: those that came with it.
        kept: what the store has of it; None as long as that is not certain.
        status: how far it is.
        attempts: how often it failed.
        refused: whether it is the answer to one too many.
        posts: how often it was handed in.
        known_from: the loop's time from which on the client knows it.
        size: bytes of its item.
        finished: the loop's time at which it had its item.
        resent: how often its item went out again.
        delivered: the loop's time at which its item had reached the client.
        accepted: settled once the store has it.
    """

    id: str
    burst: Burst
    kept: Kept | None = None
    status: Status = "accepting"
    attempts: int = 0
    refused: bool = False
    posts: int = 0
    known_from: float = float("inf")
    size: int = 0
    finished: float = 0.0
    resent: int = 0
    delivered: float = 0.0
    accepted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_done(self) -> bool:
        """Whether it has a result."""
        return self.status in {"done", "sent", "delivered"}

    @property
    def number(self) -> int:
        """Its place among all tasks; 0 as long as it has none."""
        return self.kept.number if self.kept else 0
