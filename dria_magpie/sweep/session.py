"""One session of a sweep: what it has used, and its pace."""

from __future__ import annotations

import time
from collections import Counter, deque

from dria_magpie.models import Turn
from dria_magpie.sweep.limits import Spent
from dria_magpie.sweep.row import Row
from dria_magpie.sweep.status import Status
from dria_magpie.sweep.store import Pace, Store

_PACE_OVER = 60.0


class Session:
    """Counts in memory, and tells the store of it when `write` is called, about once a second.

    Args:
        store: where it is kept.
        before: how far earlier sessions came.
    """

    def __init__(self, store: Store, before: Status) -> None:
        self._store = store
        self._before = before
        self._ended: Counter[str] = Counter()  # rows by reason, "" for those that are done
        self._examples: dict[str, str] = {}
        self._turns = self._prompt_tokens = self._completion_tokens = self._cut_off = 0
        # This clock stands still while a laptop sleeps, and so does the time that is counted.
        self._started = self._last_turn = time.monotonic()
        self._marks = deque([(self._started, 0, 0)])
        self._number = store.begin_session()

    @property
    def spent(self) -> Spent:
        """What this and the earlier sessions used."""
        before = self._before
        earlier = before.prompt_tokens + before.completion_tokens
        return Spent(
            rows=before.done + before.failed + self._ended.total(),
            tokens=earlier + self._prompt_tokens + self._completion_tokens,
            seconds=before.seconds + time.monotonic() - self._started,
        )

    @property
    def turns(self) -> int:
        """Messages of this and the earlier sessions."""
        return self._before.turns + self._turns

    def status(self, *, running: int) -> Status:
        """Give how far the sweep has come, without asking the store."""
        before, reasons = self._before, Counter(self._before.failed_by_reason) + self._ended
        done = reasons.pop("", 0)
        pace, failed = self._pace(), reasons.total()
        left = before.rows - before.done - done - failed
        return before.evolve(
            done=before.done + done,
            failed=failed,
            failed_by_reason=dict(reasons),
            examples={**before.examples, **self._examples},
            running=running,
            begun=running,
            turns=self.turns,
            cut_off=before.cut_off + self._cut_off,
            prompt_tokens=before.prompt_tokens + self._prompt_tokens,
            completion_tokens=before.completion_tokens + self._completion_tokens,
            seconds=before.seconds + pace.seconds,
            tokens_per_second=pace.tokens_per_second,
            quiet_seconds=pace.quiet_seconds,
            eta_seconds=left / pace.rows_per_second if pace.rows_per_second else None,
            active=True,
            ending="",
        )

    def add_turn(self, turn: Turn) -> None:
        """Count a turn."""
        self._turns += 1
        self._cut_off += turn.finish_reason == "length"
        self._prompt_tokens += turn.prompt_tokens
        self._completion_tokens += turn.completion_tokens
        self._last_turn = time.monotonic()

    def add_row(self, row: Row) -> None:
        """Count a row that ended."""
        self._ended[row.reason] += 1
        if row.reason:
            self._examples[row.reason] = row.error

    def write(self, ending: str = "") -> None:
        """Tell the store how long the session has lasted, how fast it goes, and how it ended."""
        now = time.monotonic()
        self._marks.append((now, self._completion_tokens, self._ended.total()))
        while now - self._marks[0][0] > _PACE_OVER and len(self._marks) > 2:
            self._marks.popleft()
        self._store.keep_session(self._number, self._pace(), ending)

    def _pace(self) -> Pace:
        now = time.monotonic()
        then, tokens, rows = self._marks[0]
        seconds = max(now - then, 1e-3)
        return Pace(
            seconds=now - self._started,
            tokens_per_second=(self._completion_tokens - tokens) / seconds,
            rows_per_second=(self._ended.total() - rows) / seconds,
            quiet_seconds=now - self._last_turn,
        )
