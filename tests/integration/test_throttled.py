"""`OpenAIEngine` and endpoints that refuse calls as too many: by rate, by number, or by whim."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dria_magpie.engines import OpenAIEngine, RetryPolicy
from dria_magpie.errors import EndpointError
from dria_magpie.models import GenerationRequest, Message
from tests.integration.endpoint import Call, MisbehavingEndpoint, answer, slow, status

NEEDED = 300
REQUEST = GenerationRequest(model="m", messages=(Message("user", "Hi"),))
QUICK = RetryPolicy(wait=0.05, longest_wait=0.5)


@dataclass
class Throttle:
    """Refuses what `refuses` says, which may give the seconds to wait; else answers in 15 ms."""

    refuses: Callable[[Throttle], float | bool]
    answering: int = 0
    refused: list[bool] = field(default_factory=list)

    def __call__(self, call: Call):
        wait = self.refuses(self)
        self.refused.append(wait is not False)
        if wait is False:
            return self.answer
        return status(429, headers=None if wait is True else {"Retry-After": str(wait)})

    async def answer(self, request):
        self.answering += 1
        try:
            return await slow(0.015)(request)
        finally:
            self.answering -= 1

    @property
    def late_share(self) -> float:
        """The share of refusals in the later half of the calls."""
        late = self.refused[len(self.refused) // 2 :]
        return sum(late) / len(late)


async def run(throttle: Throttle, needed: int = NEEDED, retry: RetryPolicy = QUICK) -> OpenAIEngine:
    """Answer that many requests, all asked for at once."""
    async with MisbehavingEndpoint(throttle) as endpoint:
        engine = OpenAIEngine(endpoint.url, models=["m"], concurrency=64, retry=retry)
        try:
            answers = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(needed)))
        finally:
            await engine.aclose()
    assert [a.text for a in answers] == ["Hello."] * needed
    assert sum(a.attempts for a in answers) == len(throttle.refused) == len(endpoint.calls)
    return engine


def limit(engine: OpenAIEngine) -> int:
    return engine._client._sender._limiter.limit


async def test_every_third_call_is_refused():
    throttle = Throttle(lambda it: len(it.refused) % 3 == 2)
    engine = await run(throttle)
    assert len(throttle.refused) <= 1.6 * NEEDED
    assert 5 <= limit(engine) <= 16


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_third_of_the_calls_is_refused_by_chance(seed):
    chance = random.Random(seed)
    throttle = Throttle(lambda it: chance.random() < 1 / 3)
    engine = await run(throttle)
    assert len(throttle.refused) <= 1.6 * NEEDED
    assert 5 <= limit(engine) <= 16


async def test_calls_above_so_many_at_once_are_refused():
    throttle = Throttle(lambda it: it.answering >= 16)
    engine = await run(throttle)
    assert len(throttle.refused) <= 1.6 * NEEDED
    assert throttle.late_share < 0.15
    assert 12 <= limit(engine) <= 22


def a_rate(most: int, seconds: float) -> Callable[[Throttle], float | bool]:
    """Refuse after so many calls until the time is over that began with the first of them."""
    begin, taken = -seconds, 0

    def refuses(it: Throttle) -> float | bool:
        nonlocal begin, taken
        now = asyncio.get_running_loop().time()
        if now - begin >= seconds:
            begin, taken = now, 0
        taken += 1
        return False if taken <= most else begin + seconds - now

    return refuses


async def test_calls_above_a_rate_are_refused_with_the_time_to_wait():
    throttle = Throttle(a_rate(100, 0.5))
    await run(throttle)
    assert len(throttle.refused) <= 1.6 * NEEDED


async def test_the_limit_is_at_its_maximum_again_once_nothing_is_refused():
    throttle = Throttle(lambda it: len(it.refused) < 100)
    engine = await run(throttle, 2500)
    assert not any(throttle.refused[100:])
    assert limit(engine) == 64


async def test_everything_is_refused_for_ever():
    throttle = Throttle(lambda it: True)
    with pytest.raises(EndpointError, match="8 attempts"):
        await run(throttle, 1, RetryPolicy(wait=0.001, longest_wait=0.002))


async def test_refusals_count_half_while_others_are_answered():
    def script(call):
        return status(429) if call.messages == [("user", "No")] else answer()

    refused = REQUEST.evolve(messages=(Message("user", "No"),))
    async with MisbehavingEndpoint(script) as endpoint:
        retry = RetryPolicy(attempts=2, wait=0.0)
        engine = OpenAIEngine(endpoint.url, models=["m"], concurrency=1, retry=retry)
        asked = (REQUEST, refused, REQUEST)
        outcomes = await asyncio.gather(*map(engine.generate, asked), return_exceptions=True)
        await engine.aclose()
    assert "3 attempts" in str(outcomes[1])
    assert len(endpoint.calls) == 5
