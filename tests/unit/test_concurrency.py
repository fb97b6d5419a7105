from __future__ import annotations

import asyncio

import pytest

from dria_magpie.engines.chat.concurrency import AdaptiveLimiter, Signal


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_it_begins_at_the_maximum():
    limiter = AdaptiveLimiter(3)
    for _ in range(3):
        await limiter.acquire()
    assert (limiter.limit, limiter.running) == (3, 3)


async def test_waiters_are_served_in_order():
    limiter = AdaptiveLimiter(1)
    ticket = await limiter.acquire()
    served = []

    async def work(name):
        mine = await limiter.acquire()
        served.append(name)
        limiter.release(mine, Signal.ANSWERED)

    tasks = [asyncio.create_task(work(name)) for name in range(5)]
    await settle()
    assert served == []
    limiter.release(ticket, Signal.ANSWERED)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]
    assert limiter.running == 0


async def test_overload_shrinks_the_limit_once_a_round_trip():
    limiter = AdaptiveLimiter(10)
    round_trip = [await limiter.acquire() for _ in range(10)]
    for ticket in round_trip:
        limiter.release(ticket, Signal.OVERLOADED)
    assert limiter.limit == 7
    limiter.release(await limiter.acquire(), Signal.OVERLOADED)
    assert limiter.limit == 4


async def test_the_limit_never_falls_below_one():
    limiter = AdaptiveLimiter(2)
    for _ in range(20):
        limiter.release(await limiter.acquire(), Signal.OVERLOADED)
    assert limiter.limit == 1


async def test_a_round_of_answers_adds_about_one_permit():
    limiter = AdaptiveLimiter(100)
    limiter.release(await limiter.acquire(), Signal.OVERLOADED)
    assert limiter.limit == 70
    for _ in range(71):
        limiter.release(await limiter.acquire(), Signal.ANSWERED)
    assert limiter.limit == 71


async def test_the_limit_never_grows_above_the_maximum():
    limiter = AdaptiveLimiter(2)
    for _ in range(10):
        limiter.release(await limiter.acquire(), Signal.ANSWERED)
    assert limiter.limit == 2


async def test_growth_lets_more_than_one_waiter_in():
    limiter = AdaptiveLimiter(2)
    tickets = [await limiter.acquire() for _ in range(2)]
    limiter.release(tickets.pop(), Signal.OVERLOADED)
    waiters = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
    await settle()
    assert limiter.running == 1
    limiter.release(tickets.pop(), Signal.ANSWERED)
    await asyncio.gather(*waiters)
    assert limiter.running == 2


async def test_a_cancelled_waiter_leaves_the_queue():
    limiter = AdaptiveLimiter(1)
    ticket = await limiter.acquire()
    first, second = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    limiter.release(ticket, Signal.NEITHER)
    await second
    assert first.cancelled()
    assert limiter.running == 1


async def test_a_waiter_cancelled_when_its_turn_comes_passes_the_permit_on():
    limiter = AdaptiveLimiter(1)
    ticket = await limiter.acquire()
    first, second = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await settle()
    limiter.release(ticket, Signal.NEITHER)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    limiter.release(await second, Signal.NEITHER)
    assert limiter.running == 0


async def test_no_permit_is_lost_in_a_storm_of_cancellations():
    limiter = AdaptiveLimiter(4)

    async def work():
        ticket = await limiter.acquire()
        try:
            await asyncio.sleep(0)
        finally:
            limiter.release(ticket, Signal.ANSWERED)

    tasks = [asyncio.create_task(work()) for _ in range(200)]
    for number, task in enumerate(tasks):
        if number % 3 == 0:
            task.cancel()
        if number % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.running == 0
    assert [await limiter.acquire() for _ in range(4)]
