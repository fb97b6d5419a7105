"""When results go out, as a value: a client gives up on tasks that come much later than others.

The SDK's rule: once more than 40 % of a chunk has arrived, it gives up whatever takes five times as
long as these took on average; once 95 % have, whatever takes twice as long. What is given up is
lost. So of tasks that came together only so many go out early as do not wake that rule.
"""

from __future__ import annotations

from dataclasses import dataclass

# The SDK hands in chunks of 50, side by side.
MOST_TOGETHER = 50
TOGETHER_SECONDS = 1.0
# Tasks that keep coming, one by one, are not kept waiting for those that will come after them.
MOST_TOGETHER_SECONDS = 5.0
EARLY_PERCENT, LATE_PERCENT = 40, 95
# A client knows a task only some time after it has the answer to its POST; before that, a result
# would be passed over and lost. Nor do 50 tasks follow each other any slower.
QUIET_SECONDS = 0.75
# A proxy may lose that answer, which nobody sees until the client hands the task in again.
PROXY_QUIET_SECONDS = 1.3
# It does so after one second, and after two; then it gives up.
GIVEN_UP_SECONDS = 3.5
# After each answer a client does not ask for five seconds. So nobody has anything from results
# that come early, unless the rest takes longer than that.
EARLY_SECONDS = 5.0
_LOST = "with more of them out, the client would give up on the rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the tasks are that came together. Times are seconds of one clock.

    Attributes:
        size: how many there are.
        done: how many have a result, those that are out included.
        released: how many results are out.
        began: when the first task came.
        known_from: when the client knows, or will know, all of them.
        progress: when a result came last; of no meaning if there is none.
    """

    size: int
    done: int
    released: int
    began: float
    known_from: float
    progress: float


@dataclass(frozen=True, slots=True)
class Release:
    """The decision about the results of tasks that came together.

    Attributes:
        most: how many more may go out now.
        again: the time at which it will be more without any news; None for never.
        reason: why not all; "" if all may.
    """

    most: int
    again: float | None = None
    reason: str = ""


def decide_release(
    standing: Standing, now: float, hold: float, *, at_the_end: bool = False
) -> Release:
    """Decide how many results go out.

    Args:
        standing: how far the tasks are.
        now: the time.
        hold: seconds from the first task after which each result goes out as it comes.
        at_the_end: whether the client gets an answer now in any case.
    """
    ready = standing.done - standing.released
    held_until = standing.began + hold
    if not ready:
        return Release(0)
    if standing.done == standing.size:
        known = min(standing.known_from, held_until)
        return Release(ready) if now >= known else Release(0, known, "not all are known yet")
    if now >= held_until:
        return _release_late(standing, now, hold)
    early = standing.size * EARLY_PERCENT // 100 - standing.released
    if early <= 0:
        return Release(0, held_until, _LOST)
    early_from = standing.began + EARLY_SECONDS
    if now < early_from and not at_the_end:
        return Release(0, min(early_from, held_until), "all may be done soon")
    return Release(ready) if early >= ready else Release(early, held_until, _LOST)


def _release_late(standing: Standing, now: float, hold: float) -> Release:
    """Decide once nobody is to wait for all of them any more."""
    ready = standing.done - standing.released
    # Of tasks that end one after the other, the last ones always take twice the average. Where
    # nothing comes any more, they would wait for ever.
    stands_still = standing.progress + hold
    below = -(-standing.size * LATE_PERCENT // 100) - 1 - standing.released
    if ready <= below or now >= stands_still:
        return Release(ready)
    return Release(max(below, 0), stands_still, _LOST)
