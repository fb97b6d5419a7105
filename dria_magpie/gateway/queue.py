"""One key's tasks: which wait for their turn, and how many it may have."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.limits import MOST_REFUSALS, MOST_TASKS, Turnstile
from dria_magpie.gateway.outbox import Outbox
from dria_magpie.gateway.store import ApiKey


class KeyQueue:
    """The tasks of one API key. Times are the loop's.

    Args:
        key: the key.
        now: the time.
        hold: seconds after which results go out as they come.

    Attributes:
        key: the key.
        entries: the tasks by the client's names, those included that were delivered lately.
        waiting: those that are to be run, in order.
        outbox: what goes to the client.
        turnstile: how fast its requests may come.
        polls: how many of its polls are held.
        revoked: whether the key is void.
        changed: set when there may be news for polls; another event takes its place then.
    """

    def __init__(self, key: ApiKey, now: float, hold: float) -> None:
        self.key = key
        self.entries: dict[str, Entry] = {}
        self.waiting: deque[Entry] = deque()
        self.outbox = Outbox(hold)
        self.turnstile = Turnstile(now)
        self.polls = 0
        self.revoked = False
        self.changed = asyncio.Event()
        self._open = self._refusals = 0

    @property
    def is_full(self) -> bool:
        """Whether it takes no more tasks."""
        return self._open >= MOST_TASKS

    @property
    def is_deaf(self) -> bool:
        """Whether not even refusals are kept for it any more."""
        return self._refusals >= MOST_REFUSALS

    def notify(self) -> None:
        """Wake the polls."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def add(self, entry: Entry) -> None:
        """Take a task up, whatever its status."""
        self.entries[entry.id] = entry
        self.outbox.add(entry)
        if entry.status != "delivered":
            self._count(entry, 1)

    def remove(self, entry: Entry) -> None:
        """Forget a task."""
        if self.entries.get(entry.id) is not entry:
            return
        del self.entries[entry.id]
        self.outbox.remove(entry)
        if entry.status != "delivered":
            self._count(entry, -1)

    def take_again(self, entry: Entry) -> tuple[Entry, ...]:
        """Note that a client hands a task in again, as it has not had the answer to its POST.

        It has passed over a result that it was given before, and will do so until it has one.
        """
        entry.known_from = float("inf")
        return self.put_back([entry])

    def note_known(self, entry: Entry, post: int, since: float) -> None:
        """Note from when on a client knows a task, or will not ask for it any more.

        Args:
            entry: the task.
            post: which time it was handed in; only the last one counts.
            since: the time.
        """
        if post == entry.posts:
            entry.known_from = since
            self.notify()

    def finish(self, entry: Entry, size: int, now: float) -> None:
        """Note that a task has its item."""
        entry.status, entry.size, entry.finished = "done", size, now
        self.notify()

    def put_back(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Note that an answer did not reach the client; give the tasks that it was thought to."""
        thought = self.outbox.put_back(self._known(entries))
        for entry in thought:
            self._count(entry, 1)
        self.notify()
        return thought

    def note_delivered(self, entries: Iterable[Entry], now: float) -> tuple[Entry, ...]:
        """Note that an answer reached the client; give the tasks that were not delivered before."""
        fresh = self.outbox.note_delivered(self._known(entries), now)
        for entry in fresh:
            self._count(entry, -1)
        return fresh

    def _known(self, entries: Iterable[Entry]) -> list[Entry]:
        # What nobody collected may have been dropped meanwhile
        return [entry for entry in entries if self.entries.get(entry.id) is entry]

    def _count(self, entry: Entry, change: int) -> None:
        if entry.refused:
            self._refusals += change
        else:
            self._open += change
