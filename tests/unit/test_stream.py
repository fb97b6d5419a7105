"""Many runs at once: what is given, and what is raised when."""

from __future__ import annotations

import asyncio

import pytest

from dria_magpie import Dria, MagPie, Node, Task
from dria_magpie.client.stream import Stream
from dria_magpie.testing import ScriptedEngine


def numbers_then_error(number):
    yield from range(number)
    raise LookupError("the file ends here")


async def numbers_then_error_async(number):
    for item in range(number):
        yield item
    raise LookupError("the file ends here")


async def drain(results):
    """What is given, and what is raised in the end."""
    given = []

    async def take():
        async for item in results:
            given.append(item)

    [error] = await asyncio.gather(take(), return_exceptions=True)
    return given, error


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("items", [numbers_then_error, numbers_then_error_async])
@pytest.mark.parametrize("window", [1, 3, 100])
async def test_what_was_begun_is_given_before_an_error_of_the_iterator(ordered, items, window):
    async def run(item):
        # The first ones last longest
        for _ in range(40 - 4 * item):
            await asyncio.sleep(0)
        return item

    given, error = await drain(Stream(items(10), run, window, ordered=ordered).results())
    assert sorted(given) == [(n, n) for n in range(10)]
    assert not ordered or given == sorted(given)
    assert isinstance(error, LookupError)


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_iterator_that_gives_nothing_but_an_error(ordered):
    stream = Stream(numbers_then_error(0), asyncio.sleep, 2, ordered=ordered)
    given, error = await drain(stream.results())
    assert given == []
    assert isinstance(error, LookupError)


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_error_of_a_run_is_raised_at_once(ordered):
    cancelled = []
    last_runs = asyncio.Event()

    async def run(item):
        if item == 1:
            await last_runs.wait()
            raise ArithmeticError("run")
        try:
            if item == 2:
                last_runs.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    async with asyncio.timeout(5):
        stream = Stream(numbers_then_error(3), run, 8, ordered=ordered)
        given, error = await drain(stream.results())
    assert given == []
    assert isinstance(error, ArithmeticError)
    assert sorted(cancelled) == [0, 2]


async def test_who_leaves_waits_for_nothing_that_was_begun():
    class Leaving(BaseException):
        pass

    def items():
        yield 1
        raise Leaving

    async def run(item):
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        with pytest.raises(Leaving):
            _ = [item async for item in Stream(items(), run, 8).results()]


async def test_time_that_runs_out_is_no_error_of_the_iterator_and_its_own_timeout_is():
    async def waits():
        yield 1
        await asyncio.Event().wait()

    async def fails():
        yield 1
        raise TimeoutError("of my own")

    async def run(item):
        return item

    soon = asyncio.get_running_loop().time() + 0.05
    assert await drain(Stream(waits(), run, 8, soon).results()) == ([(0, 1)], None)
    given, error = await drain(Stream(fails(), run, 8, soon + 60).results())
    assert given == [(0, 1)]
    assert str(error) == "of my own"


async def test_a_generator_of_tasks_that_raises_gives_the_finished_results_first():
    def tasks():
        for number in range(150):
            yield Task(workflow=MagPie().workflow("A", "B"), id=str(number))
        raise LookupError("no more")

    async with Dria(nodes=[Node(ScriptedEngine(lambda _: "said"))]) as dria:
        results, error = await drain(dria.stream(tasks()))
    assert isinstance(error, LookupError)
    assert {result.id for result in results} == {str(number) for number in range(150)}
    assert all(result.error is None for result in results)
