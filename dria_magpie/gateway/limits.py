"""What a key may take of the gateway, and why so much."""

from __future__ import annotations

from dataclasses import dataclass

# A client's task has 256 KiB in base64 at most; the rest is for those who write JSON with spaces.
MOST_BODY = 512 * 1024
# Whoever sends a body slower than this only wants to keep a connection.
BODY_SECONDS = 30.0
# Twenty chunks of a client, which sends the next one when it has the last one's results.
MOST_TASKS = 1000
# Each is an answer that tells a client to give up; who needs more of them does not listen.
MOST_REFUSALS = 1000
# A client polls once in five seconds for minutes, and hands in 50 tasks at once.
REQUESTS_PER_SECOND = 100.0
REQUESTS_AT_ONCE = 500
# Longer, and waiting requests would fill the gateway's memory before they slow anybody down.
LONGEST_WAIT = 1.0
# Each program holds one; those who hold more get an empty list instead of a wait.
MOST_POLLS = 32
# Proxies commonly break what is silent for 30 seconds.
POLL_SECONDS = 20.0
# What one answer carries: a client takes the next one five seconds later.
MOST_ITEMS = 200
MOST_BYTES = 1_000_000
# A client takes no result that is a day older than its task.
KEPT_SECONDS = 24 * 3600.0
# A client asks three times within two seconds if an answer does not reach it.
RESENT_SECONDS = 5.0
MOST_RESENT = 2
# For as long, a task that is handed in again is known to be an old one.
REMEMBERED_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision about one request.

    Attributes:
        admitted: whether it is let in.
        wait: seconds until its turn.
        reason: why it waits, or is not let in; "" if it is at once.
    """

    admitted: bool
    wait: float = 0.0
    reason: str = ""


class Turnstile:
    """Lets a key's requests in: many at once, then so many a second.

    Whoever comes too fast waits for its turn, so that a client slows down; only as many wait as
    get their turn soon.

    Args:
        now: the time, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._left = float(REQUESTS_AT_ONCE)
        self._then = now

    def decide(self, now: float) -> Admission:
        """Decide about the next request, and count it if it is let in."""
        grown = (now - self._then) * REQUESTS_PER_SECOND
        self._left = min(self._left + grown, float(REQUESTS_AT_ONCE))
        self._then = now
        wait = (1.0 - self._left) / REQUESTS_PER_SECOND
        if wait > LONGEST_WAIT:
            return Admission(False, 0.0, f"more than {REQUESTS_PER_SECOND:.0f} requests a second")
        self._left -= 1.0
        return Admission(True, wait, "others come first") if wait > 0 else Admission(True)
