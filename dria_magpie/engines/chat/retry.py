"""When a failed call is worth another one, as a value; tenacity does the waiting."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState

from dria_magpie.engines.chat.failures import CallFailed, Failure, Kind

_log = logging.getLogger("dria_magpie.engines")
_Answer = TypeVar("_Answer")

_WORTH_IT = {408, 409, 425, 429}
_NEVER = {Kind.INSECURE, Kind.CONTEXT, Kind.ROLES, Kind.EMPTY_FOR_GOOD}
_MOST_EMPTY = 3
_MOST_TIMEOUTS = 2
_MOST_REFUSED_BY_A_STRANGER = 2


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What to do after a failure.

    Attributes:
        retry: whether to call again.
        delay: seconds to wait before that.
        reason: why the call failed.
    """

    retry: bool
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a failed call is made again.

    The wait doubles with each failure; a ``Retry-After`` that is longer is honoured. Of calls that
    were refused as too much (429, 503) while the endpoint answered others, two count as one. With
    the defaults a request waits at most 18 seconds in all, or 36 where others are answered, unless
    the endpoint asks for more.

    Attributes:
        attempts: the most calls for one request.
        wait: seconds before the second call.
        longest_wait: the most seconds between two calls.
        jitter: the part of a wait, 0 to 1, that chance may take away, so that calls which failed
            together do not come back together.

    Example::

        OpenAIEngine("http://localhost:8000/v1", retry=RetryPolicy(attempts=3))
    """

    attempts: int = 8
    wait: float = 0.25
    longest_wait: float = 5.0
    jitter: float = 0.5

    def decide(self, failures: Sequence[Failure], *, known: bool) -> RetryDecision:
        """Decide after a failure.

        Args:
            failures: what went wrong with this request so far, the newest last.
            known: whether the endpoint has ever answered anything.
        """
        last = failures[-1]
        spent = len(failures) - sum(failure.unlucky for failure in failures) // 2
        if not _worth_another(last) or spent >= self.attempts:
            return RetryDecision(False, 0.0, last.reason)
        if sum(failure.kind is last.kind for failure in failures) >= _most(last.kind, known):
            return RetryDecision(False, 0.0, last.reason)
        wait = min(self.wait * 2.0 ** (spent - 1), self.longest_wait)
        wait *= 1.0 - self.jitter * random.random()  # noqa: S311 - spreads calls, guards nothing
        return RetryDecision(True, max(wait, last.retry_after or 0.0), last.reason)


DEFAULT_RETRY = RetryPolicy()


def _worth_another(failure: Failure) -> bool:
    if failure.kind is Kind.STATUS:
        status = failure.status or 0
        return status in _WORTH_IT or status >= 500
    return failure.kind not in _NEVER


def _most(kind: Kind, known: bool) -> float:
    if kind is Kind.EMPTY:
        return _MOST_EMPTY
    if kind is Kind.TIMEOUT:
        return _MOST_TIMEOUTS
    if kind is Kind.REFUSED and not known:
        return _MOST_REFUSED_BY_A_STRANGER
    return float("inf")


async def call_with_retries(
    call: Callable[[], Awaitable[_Answer]],
    failures: list[Failure],
    decide: Callable[[Sequence[Failure]], RetryDecision],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _Answer:
    """Call until there is an answer, or no sense in another call.

    Args:
        call: makes one call; raises `CallFailed`.
        failures: gets every failure, the last one included; empty at the start.
        decide: what follows from the failures so far.
        sleep: waits for some seconds between two calls; what it raises ends the matter.

    Raises:
        CallFailed: the failure after which `decide` gave up.
    """
    # tenacity costs a fifth of a whole call, so that only calls which failed pay for it
    try:
        return await call()
    except CallFailed as failed:
        first = failed
    decision = RetryDecision(False, 0.0, "")

    async def step() -> _Answer:
        if not failures:
            raise first
        return await call()

    def again(state: RetryCallState) -> bool:
        nonlocal decision
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, CallFailed):
            return False
        failures.append(error.failure)
        decision = decide(failures)
        if decision.retry:
            _log_retry(error.failure, len(failures), decision.delay)
        return decision.retry

    return await AsyncRetrying(
        retry=again, wait=lambda _: decision.delay, sleep=sleep, reraise=True
    )(step)


def _log_retry(failure: Failure, number: int, delay: float) -> None:
    _log.info(
        "call %d failed (%s), next one in %.2f s",
        number,
        failure.kind.name.lower(),
        delay,
        extra={"action": "retry", "status": failure.status, "delay": delay},
    )
