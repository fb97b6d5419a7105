from __future__ import annotations

import asyncio

import pytest

from dria_magpie.engines.chat.concurrency import AdaptiveLimiter, Signal
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.errors import DrainedError


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
    await limiter.acquire()
    served = []

    async def work(name):
        await limiter.acquire()
        served.append(name)
        limiter.release(Signal.ANSWERED)

    tasks = [asyncio.create_task(work(name)) for name in range(5)]
    await settle()
    assert served == []
    limiter.release(Signal.ANSWERED)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]
    assert limiter.running == 0


async def play(limiter, *rounds):
    """Begin as many calls as may be, and let so many of them be refused; give each limit."""
    limits = []
    for share in rounds:
        began = limiter.limit
        for _ in range(began):
            await limiter.acquire()
        for number in range(began):
            refused = number < round(share * began)
            limiter.release(Signal.OVERLOADED if refused else Signal.ANSWERED)
        limits.append(limiter.limit)
    return limits


@pytest.mark.parametrize(
    ("share", "limit"),
    [(0, 60), (0.05, 58), (0.1, 55), (1 / 3, 51), (0.6, 51), (0.65, 22), (0.7, 19), (1, 15)],
)
async def test_a_round_takes_away_the_share_that_was_refused_within_bounds(share, limit):
    assert await play(AdaptiveLimiter(60), share) == [limit]


async def test_an_endpoint_that_refuses_everything_soon_gets_one_call_at_a_time():
    assert await play(AdaptiveLimiter(64), 1, 1, 1, 1) == [16, 4, 1, 1]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 64])
async def test_refusals_of_a_third_of_all_calls_leave_some_permits(most):
    limits = await play(AdaptiveLimiter(most), *[1 / 3] * 60)
    assert limits[-1] == min(most, 6)


async def test_a_round_of_answers_adds_one_permit_up_to_the_maximum():
    limiter = AdaptiveLimiter(20)
    assert await play(limiter, 1) == [5]
    for limit in [*range(6, 21), 20, 20]:
        for _ in range(max(16, limiter.limit)):
            await limiter.acquire()
            limiter.release(Signal.ANSWERED)
        assert limiter.limit == limit


async def test_calls_that_say_nothing_of_the_load_change_nothing():
    limiter = AdaptiveLimiter(20)
    for _ in range(100):
        await limiter.acquire()
        limiter.release(Signal.NEITHER)
    assert (limiter.limit, limiter.running, limiter.answered) == (20, 0, 0)


async def test_the_permit_of_a_refused_call_is_held_until_the_others_have_ended():
    limiter = AdaptiveLimiter(3)
    for _ in range(3):
        await limiter.acquire()
    waiters = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await settle()
    begun = []
    for signal in (Signal.OVERLOADED, Signal.ANSWERED, Signal.ANSWERED):
        limiter.release(signal)
        await settle()
        begun.append(sum(waiter.done() for waiter in waiters))
    assert begun == [0, 1, 3]
    assert limiter.running == 3


async def test_a_permit_is_not_held_for_as_long_as_the_slowest_call_takes(monkeypatch):
    monkeypatch.setattr("dria_magpie.engines.chat.concurrency._LONGEST_PAUSE", 0.01)
    limiter = AdaptiveLimiter(2)
    for _ in range(2):
        await limiter.acquire()
    limiter.release(Signal.OVERLOADED)
    await asyncio.wait_for(limiter.acquire(), 5)
    assert limiter.running == 2


async def test_no_permit_is_held_while_nothing_runs():
    limiter = AdaptiveLimiter(3)
    await limiter.acquire()
    limiter.release(Signal.OVERLOADED)
    for _ in range(3):
        await limiter.acquire()
    assert limiter.running == 3


async def test_growth_lets_more_than_one_waiter_in():
    limiter = AdaptiveLimiter(8)
    assert await play(limiter, 1) == [2]
    for _ in range(2):
        await limiter.acquire()
    waiters = [asyncio.create_task(limiter.acquire()) for _ in range(20)]
    for _ in range(16):
        limiter.release(Signal.ANSWERED)
        await settle()
    assert (limiter.limit, limiter.running) == (3, 3)
    assert sum(waiter.done() for waiter in waiters) == 17
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)


async def test_all_wait_where_a_whole_round_was_told_to_come_later():
    loop = asyncio.get_running_loop()
    limiter = AdaptiveLimiter(4)
    for _ in range(4):
        await limiter.acquire()
    for _ in range(4):
        limiter.release(Signal.OVERLOADED, 0.05)
    told = loop.time()
    await asyncio.gather(limiter.acquire())
    assert loop.time() - told >= 0.04
    limiter.release(Signal.ANSWERED)
    await asyncio.wait_for(limiter.acquire(), 5)


@pytest.mark.parametrize(("asked", "longest"), [(60.0, 5), (2.0, 2)])
async def test_all_wait_for_a_few_seconds_at_most(asked, longest):
    limiter = AdaptiveLimiter(4)
    for _ in range(4):
        await limiter.acquire()
    for _ in range(4):
        limiter.release(Signal.OVERLOADED, asked)
    left = limiter._pause.when() - asyncio.get_running_loop().time()
    assert longest - 1 < left <= longest
    limiter._pause.cancel()


@pytest.mark.parametrize("others", [[Signal.ANSWERED] * 63, [Signal.OVERLOADED] * 62])
async def test_only_the_call_itself_waits_where_others_are_answered_or_under_way(others):
    limiter = AdaptiveLimiter(64)
    for _ in range(64):
        await limiter.acquire()
    limiter.release(Signal.OVERLOADED, 60.0)
    for signal in others:
        limiter.release(signal, 60.0)
    assert limiter._pause is None


async def test_a_cancelled_waiter_leaves_the_queue():
    limiter = AdaptiveLimiter(1)
    await limiter.acquire()
    first, second = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    limiter.release(Signal.NEITHER)
    await second
    assert first.cancelled()
    assert limiter.running == 1


async def test_a_waiter_cancelled_when_its_turn_comes_passes_the_permit_on():
    limiter = AdaptiveLimiter(1)
    await limiter.acquire()
    first, second = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await settle()
    limiter.release(Signal.NEITHER)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    limiter.release(Signal.NEITHER)
    assert limiter.running == 0


async def test_no_permit_is_lost_in_a_storm_of_cancellations():
    limiter = AdaptiveLimiter(4)

    async def work():
        await limiter.acquire()
        try:
            await asyncio.sleep(0)
        finally:
            limiter.release(Signal.ANSWERED)

    tasks = [asyncio.create_task(work()) for _ in range(200)]
    for number, task in enumerate(tasks):
        if number % 3 == 0:
            task.cancel()
        if number % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.running == 0
    for _ in range(4):
        await limiter.acquire()


async def test_a_gate_that_is_shut_ends_every_wait_for_a_permit_and_refuses_the_next():
    gate = Gate()
    limiter = AdaptiveLimiter(1, gate)
    await limiter.acquire()
    waiters = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await settle()
    gate.shut()
    gate.shut()
    outcomes = await asyncio.gather(*waiters, limiter.acquire(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DrainedError] * 4
    assert limiter.running == 1
    gate.open()
    limiter.release(Signal.ANSWERED)
    await limiter.acquire()
    assert limiter.running == 1


@pytest.mark.parametrize("shut_first", [True, False])
async def test_a_permit_that_comes_as_the_gate_is_shut_is_not_used_and_not_lost(shut_first):
    gate = Gate()
    limiter = AdaptiveLimiter(1, gate)
    await limiter.acquire()
    waiter = asyncio.create_task(limiter.acquire())
    await settle()
    acts = [gate.shut, lambda: limiter.release(Signal.ANSWERED)]
    for act in acts if shut_first else reversed(acts):
        act()
    with pytest.raises(DrainedError):
        await waiter
    assert limiter.running == 0


async def test_a_waiter_that_is_cancelled_as_the_gate_is_shut_is_cancelled():
    gate = Gate()
    limiter = AdaptiveLimiter(1, gate)
    await limiter.acquire()
    waiter = asyncio.create_task(limiter.acquire())
    await settle()
    gate.shut()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_a_sleep_lasts_until_it_is_over_or_the_gate_is_shut():
    gate = Gate()
    await gate.sleep(0.001)
    sleeper = asyncio.create_task(gate.sleep(3600))
    await settle()
    gate.shut()
    async with asyncio.timeout(5):
        with pytest.raises(DrainedError):
            await sleeper
        with pytest.raises(DrainedError):
            await gate.sleep(3600)


async def test_a_gate_is_shut_under_waits_that_were_answered_or_whose_loop_is_gone():
    gate = Gate()

    async def leave_a_wait_behind():
        waiter = asyncio.ensure_future(gate.wait(asyncio.get_running_loop().create_future()))
        await settle()
        return waiter

    loop = asyncio.new_event_loop()
    left = await asyncio.to_thread(loop.run_until_complete, leave_a_wait_behind())
    loop.close()
    gate.shut()
    with pytest.raises(DrainedError):
        gate.check()
    left._log_destroy_pending = False
