"""`Sender`: calls to one endpoint, as many at once as it takes, and again where one failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dria_magpie.engines.chat.concurrency import AdaptiveLimiter, Signal
from dria_magpie.engines.chat.failures import CallFailed, Failure, final_error
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.engines.chat.retry import RetryDecision, RetryPolicy, call_with_retries
from dria_magpie.engines.chat.wire import Connection

_Answer = TypeVar("_Answer")
_OVERLOADED = {429, 503}


@dataclass(slots=True)
class Course:
    """What has become of one request so far.

    Attributes:
        model: the model's name, for messages; "" for none.
        calls: how many were made.
        answered: how many calls the endpoint had answered, anybody's, when it refused the last
            one of this request as too much, or else at the request's beginning.
        failures: what went wrong, the newest last.
    """

    model: str = ""
    calls: int = 0
    answered: int = 0
    failures: list[Failure] = field(default_factory=list)


class Sender:
    """Makes calls to one endpoint.

    Args:
        connection: to the endpoint.
        url: its base URL, for messages.
        concurrency: the most calls at once.
        retry: when a failed call is made again.
        gate: what each call passes before it begins.
    """

    def __init__(
        self, connection: Connection, url: str, concurrency: int, retry: RetryPolicy, gate: Gate
    ) -> None:
        self._connection = connection
        self._url = url
        self._concurrency = concurrency
        self._retry = retry
        self._gate = gate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limiter = AdaptiveLimiter(concurrency, gate)

    def begin(self, model: str) -> Course:
        """Give the course of a request that is about to be sent with `post`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Calls that a dead loop left behind never give their permits back
            self._loop = loop
            self._limiter = AdaptiveLimiter(self._concurrency, self._gate)
        return Course(model, answered=self._limiter.answered)

    async def insist(self, call: Callable[[], Awaitable[_Answer]], course: Course) -> _Answer:
        """Make a call until there is an answer, or no sense in another one.

        Args:
            call: makes it once; raises `CallFailed`.
            course: of the request that it is made for; gets every failure.

        Raises:
            EngineError: no answer could be had.
            DrainedError: the gate was shut before an answer was there.
        """
        try:
            return await call_with_retries(call, course.failures, self._decide, self._gate.sleep)
        except CallFailed as failed:
            error = final_error(course.failures, self._url, course.model, course.calls)
            raise error from failed.__cause__

    async def post(self, route: str, body: bytes, course: Course) -> Any:
        """Send JSON once it is this call's turn, give the JSON that comes back.

        Raises:
            CallFailed: there is no answer.
            DrainedError: the gate was shut before the call's turn.
        """
        limiter = self._limiter
        await limiter.acquire()
        signal, retry_after = Signal.NEITHER, None
        course.calls += 1
        try:
            answer = await self._connection.post(route, body)
            signal = Signal.ANSWERED
        except CallFailed as failed:
            failure = failed.failure
            if failure.status not in _OVERLOADED:
                raise
            signal, retry_after = Signal.OVERLOADED, failure.retry_after
            unlucky = limiter.answered > course.answered
            course.answered = limiter.answered
            raise CallFailed(replace(failure, unlucky=unlucky)) from failed.__cause__
        finally:
            limiter.release(signal, retry_after)
        return answer

    def _decide(self, failures: Sequence[Failure]) -> RetryDecision:
        return self._retry.decide(failures, known=self._connection.known)
