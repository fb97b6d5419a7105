"""Deleting in bulk: what is done with is mostly the oldest, and one order deletes all of it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

# A message that stays keeps later ones from going with the rest; so many may wait for it.
MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Cut:
    """What is to be deleted.

    Attributes:
        below: every message of the kind before this place; 0 for none.
        single: the places of others.
    """

    below: int
    single: tuple[int, ...]


@dataclass(slots=True)
class Prefix:
    """Which messages of one kind are done with, by their places in a stream.

    Every message must be added, in the order of their places, before a later one is taken.
    """

    _open: dict[int, None] = field(default_factory=dict)
    _done: list[int] = field(default_factory=list)
    _undeleted: set[int] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that is needed, nor anything to be deleted."""
        return not self._open and not self._done

    def add(self, seq: int) -> None:
        """Note a message that is needed."""
        self._open[seq] = None

    def finish(self, seq: int) -> bool:
        """Note that a message is needed no more; tell whether it was known."""
        known = seq in self._open
        if known:
            del self._open[seq]
            heapq.heappush(self._done, seq)
            self._undeleted.add(seq)
        return known

    def take_single(self, seq: int) -> bool:
        """Note that one that is done with is deleted by itself; tell whether it was not yet."""
        is_there = seq in self._undeleted
        self._undeleted.discard(seq)
        return is_there

    def leave(self) -> tuple[int, ...]:
        """Give the places of all that is done with, when nothing more is known for certain."""
        left = tuple(sorted(self._undeleted))
        self._done, self._undeleted = [], set()
        return left

    def take(self) -> Cut:
        """Give what is to be deleted now, and forget it."""
        if not self._done:
            return Cut(0, ())
        first = min(self._open, default=max(self._done) + 1)
        old = self._pop(sum(seq < first for seq in self._done))
        spare = self._pop(max(0, len(self._done) - MOST_WAITING))
        return Cut(first if old else 0, spare)

    def _pop(self, count: int) -> tuple[int, ...]:
        """Take out the oldest that are done with; give those that are not deleted yet."""
        oldest = [heapq.heappop(self._done) for _ in range(count)]
        left = tuple(seq for seq in oldest if seq in self._undeleted)
        self._undeleted.difference_update(left)
        return left
