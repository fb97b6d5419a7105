"""One key's results: which go out now, which did not arrive, which are to be forgotten."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import takewhile

from dria_magpie.gateway.entry import Burst, Entry
from dria_magpie.gateway.limits import (
    MOST_BYTES,
    MOST_ITEMS,
    MOST_RESENT,
    REMEMBERED_SECONDS,
    RESENT_SECONDS,
)
from dria_magpie.gateway.release import decide_release

# A client whose answer was cut off asks again after a second; one that has it, after five.
_ASKS_AGAIN = (0.7, 2.5)


class Outbox:
    """The results of one API key, on their way to its client. Times are the loop's.

    Args:
        hold: seconds after which results go out as they come.

    Attributes:
        bursts: tasks that came together, as long as not all of them were delivered.
    """

    def __init__(self, hold: float) -> None:
        self.bursts: list[Burst] = []
        self._hold = hold
        self._recent: deque[Entry] = deque()
        self._old: deque[Entry] = deque()
        self._sent: tuple[Entry, ...] = ()
        self._sent_at = self._beat_at = float("-inf")

    def add(self, entry: Entry) -> None:
        """Take a task up, whatever its status."""
        entry.burst.entries.append(entry)
        if entry.status == "delivered":
            self._old.append(entry)
        elif entry.burst not in self.bursts:
            self.bursts.append(entry.burst)

    def remove(self, entry: Entry) -> None:
        """Forget a task."""
        entry.burst.entries.remove(entry)
        self._tidy()

    def find_burst(self, now: float) -> Burst | None:
        """Give the tasks that one belongs to which comes now; None if it is the first."""
        return self.bursts[-1] if self.bursts and self.bursts[-1].takes(now) else None

    def beat(self, now: float) -> None:
        """Note that the client asked who lives, as it does in each of its cycles."""
        self._beat_at = now

    def take(self, now: float, *, at_the_end: bool = False) -> tuple[Entry, ...]:
        """Give the tasks whose items go out now, and note that they do.

        Args:
            now: the time.
            at_the_end: an answer is given in any case.
        """
        taken: list[Entry] = []
        size = 0
        for burst in self.bursts:
            most = decide_release(burst.standing(), now, self._hold, at_the_end=at_the_end).most
            for entry in burst.entries:
                if entry.status != "done" or entry.known_from > now:
                    continue
                full = len(taken) == MOST_ITEMS or (taken and size + entry.size > MOST_BYTES)
                if not most or full:
                    break
                most, size = most - 1, size + entry.size
                entry.status = "sent"
                taken.append(entry)
        return tuple(taken)

    def next_change(self, now: float) -> float | None:
        """Give the time at which more goes out without any news; None for never."""
        times: list[float] = []
        for burst in self.bursts:
            release = decide_release(burst.standing(), now, self._hold)
            if release.again is not None:
                times.append(release.again)
            if release.most:
                done = (entry for entry in burst.entries if entry.status == "done")
                times += [entry.known_from for entry in done if entry.known_from > now]
        return min(times, default=None)

    def take_lost(self, now: float) -> tuple[Entry, ...]:
        """Give the last answer's tasks, if the client asks as if that had not reached it.

        Between this gateway and the client may be a proxy, which takes an answer and loses it.
        """
        since, until = _ASKS_AGAIN
        if not since <= now - self._sent_at <= until or self._beat_at > self._sent_at:
            return ()
        lost = tuple(
            entry
            for entry in self._sent
            if entry.resent < MOST_RESENT and entry.status in {"sent", "delivered"}
        )
        for entry in lost:
            entry.resent += 1
        return lost

    def note_sent(self, entries: tuple[Entry, ...], now: float) -> None:
        """Note that an answer with these tasks' items was written."""
        self._sent, self._sent_at = entries, now

    def put_back(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Note that an answer did not reach the client; give the tasks that it was thought to."""
        out = [entry for entry in entries if entry.status in {"sent", "delivered"}]
        thought = tuple(entry for entry in out if entry.status == "delivered")
        for entry in out:
            entry.status = "done"
            if entry.burst not in self.bursts:
                self.bursts.insert(0, entry.burst)
        return thought

    def note_delivered(self, entries: Iterable[Entry], now: float) -> tuple[Entry, ...]:
        """Note that an answer reached the client; give the tasks that were not delivered before."""
        fresh = tuple(entry for entry in entries if entry.status == "sent")
        for entry in fresh:
            entry.status, entry.delivered = "delivered", now
        self._recent.extend(fresh)
        self._tidy()
        return fresh

    def list_settled(self, now: float) -> tuple[Entry, ...]:
        """Give the tasks whose items the client will not ask for again."""
        return _list_older(self._recent, now - RESENT_SECONDS)

    def note_settled(self, now: float) -> None:
        """Note that these tasks' items were deleted."""
        self._old.extend(_pop(self._recent, now - RESENT_SECONDS))

    def list_forgotten(self, now: float) -> tuple[Entry, ...]:
        """Give the tasks that nobody will hand in again."""
        return _list_older(self._old, now - REMEMBERED_SECONDS)

    def note_forgotten(self, now: float) -> None:
        """Note that these tasks were deleted."""
        _pop(self._old, now - REMEMBERED_SECONDS)

    def list_uncollected(self, before: float) -> tuple[Entry, ...]:
        """Give the tasks that have had their item since before a time."""
        return tuple(
            entry
            for burst in self.bursts
            for entry in burst.entries
            if entry.status == "done" and entry.finished < before
        )

    def _tidy(self) -> None:
        self.bursts = [
            burst
            for burst in self.bursts
            if any(entry.status != "delivered" for entry in burst.entries)
        ]


def _list_older(entries: deque[Entry], before: float) -> tuple[Entry, ...]:
    older = takewhile(lambda entry: entry.delivered < before, entries)
    # What was put back meanwhile comes here again once it is delivered
    return tuple(entry for entry in older if entry.status == "delivered")


def _pop(entries: deque[Entry], before: float) -> tuple[Entry, ...]:
    popped = _list_older(entries, before)
    while entries and entries[0].delivered < before:
        entries.popleft()
    return popped
