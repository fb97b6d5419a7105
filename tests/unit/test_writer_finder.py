from __future__ import annotations

import asyncio

import pytest

from dria_magpie.engines.chat.failures import CallFailed, Failure, Kind
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.engines.raw.finder import WriterFinder
from dria_magpie.errors import DrainedError

FOUND_OUT = 4


class Endpoint:
    """Answers from memory, as llama-server would; `then` runs within the last answer."""

    def __init__(self, then=lambda: None):
        self.then = then
        self.calls = 0
        self.free = asyncio.Event()
        self.free.set()

    async def get(self, route):
        self.calls += 1
        await self.free.wait()
        raise CallFailed(Failure(Kind.STATUS, "no such route", 404))

    async def post(self, route, body):
        self.calls += 1
        if self.calls == FOUND_OUT:
            self.then()
        return {"usage": {"prompt_tokens": body.count(b" word") + 1}}


@pytest.fixture
async def complaints():
    """What the event loop was told of, and nobody else."""
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    return told


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def find(finder, number):
    return [asyncio.create_task(finder.find("llama3:8b")) for _ in range(number)]


async def test_a_gate_that_is_shut_in_the_moment_of_the_discovery_ends_every_wait(complaints):
    gate = Gate()
    finder = WriterFinder(Endpoint(gate.shut), "http://host/v1", None, gate)
    outcomes = await asyncio.gather(*find(finder, 3), return_exceptions=True)
    await settle()
    assert [type(outcome) for outcome in outcomes] == [DrainedError] * 3
    assert complaints == []
    gate.open()
    assert (await finder.find("llama3:8b")).adds_bos


async def test_whoever_goes_away_leaves_the_others_what_is_found_out(complaints):
    endpoint = Endpoint()
    endpoint.free.clear()
    finder = WriterFinder(endpoint, "http://host/v1", None, Gate())
    first, *others = find(finder, 3)
    await settle()
    first.cancel()
    endpoint.free.set()
    writers = await asyncio.gather(*others)
    assert first.cancelled()
    assert writers[0] is writers[1]
    assert endpoint.calls == FOUND_OUT
    assert complaints == []


async def test_a_finder_that_is_closed_ends_the_waits_for_what_it_finds_out(complaints):
    endpoint = Endpoint()
    endpoint.free.clear()
    finder = WriterFinder(endpoint, "http://host/v1", None, Gate())
    calls = find(finder, 2)
    await settle()
    await finder.aclose()
    await asyncio.wait(calls, timeout=5)
    assert all(call.cancelled() for call in calls)
    assert complaints == []
