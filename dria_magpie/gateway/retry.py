"""What follows from a task's failure, as a value.

A client that is told of a failure runs the task again and pays for it again, or gives it up. So
whatever may pass is tried again here, and only what will not pass is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dria_magpie.errors import (
    ContextLengthError,
    DrainedError,
    DriaMagpieError,
    EndpointError,
    EngineError,
    InstructionError,
    ModelFileError,
    NetworkError,
    NoNodeError,
    StoreError,
    TaskTimeoutError,
    UnsupportedError,
)

MOST_ATTEMPTS = 3
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
# An endpoint that is away for longer than this will not come back while a client waits.
_LONGEST_OUTAGE = 3600.0
_WILL_NOT_PASS = (ContextLengthError, InstructionError, ModelFileError, UnsupportedError)
_MAY_PASS = (EngineError, NetworkError, NoNodeError, TaskTimeoutError)
_WORTH_IT = {408, 409, 425, 429}
_AWAY = {429, 502, 503, 504}
Next = Literal["again", "wait", "fail"]


@dataclass(frozen=True, slots=True)
class AttemptDecision:
    """What follows from a failure.

    Attributes:
        next: ``again`` counts as an attempt, ``wait`` does not, ``fail`` is told to the client.
        delay: seconds before the next attempt.
        reason: why.
    """

    next: Next
    delay: float
    reason: str


def decide_attempt(
    error: DriaMagpieError, *, failures: int, outages: int, others_succeed: bool, seconds: float
) -> AttemptDecision:
    """Decide after a failure.

    Args:
        error: why the task failed.
        failures: how often it did so, this one included, outages aside.
        outages: how often it failed with everything else.
        others_succeed: whether anything succeeded while the task was being run.
        seconds: since it was first run.
    """
    if isinstance(error, DrainedError):
        return AttemptDecision("wait", 0.0, "the gateway is ending")
    if isinstance(error, StoreError):
        return AttemptDecision("wait", _wait(outages), "the gateway's disk is full, or damaged")
    if not isinstance(error, _MAY_PASS) or isinstance(error, _WILL_NOT_PASS):
        return AttemptDecision("fail", 0.0, "another attempt would end in the same way")
    status = error.status if isinstance(error, EndpointError) else None
    if status is not None and status < 500 and status not in _WORTH_IT:
        return AttemptDecision("fail", 0.0, f"the endpoint refuses with {status}")
    away = isinstance(error, (NetworkError, EndpointError)) and (status is None or status in _AWAY)
    if away and not others_succeed and seconds < _LONGEST_OUTAGE:
        return AttemptDecision("wait", _wait(outages), "nothing gets through now")
    if failures >= MOST_ATTEMPTS:
        return AttemptDecision("fail", 0.0, f"{failures} attempts were made")
    return AttemptDecision("again", _wait(failures), "another attempt may succeed")


def _wait(times: int) -> float:
    return float(min(_FIRST_WAIT * 2 ** max(times - 1, 0), _LONGEST_WAIT))
