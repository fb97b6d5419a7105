"""Results on a real broker: none goes that nobody has collected, and none is taken for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

import pytest

from dria_magpie import MagPie, Task
from dria_magpie.errors import NetworkError
from dria_magpie.network.broker import Broker
from dria_magpie.network.envelope import split_parts
from dria_magpie.network.hub import results as module
from dria_magpie.network.hub.job import Job
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.results import Results
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.order import write_order
from dria_magpie.network.record import Record
from dria_magpie.workflow import ExecutionState

WORKFLOW = MagPie().workflow("A", "B")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


class Desk:
    """What a client and a hub do to results, by hand."""

    def __init__(self, broker: Broker, streams: Streams, results: Results) -> None:
        self.broker, self.streams, self.results = broker, streams, results
        self.client = f"c{token_hex(4)}"

    def job(self, name: str, seed: int = 1, run: str = "run") -> Job:
        state = ExecutionState.start(WORKFLOW, seed=seed)
        payload = write_order(Task(workflow=WORKFLOW), WORKFLOW, state)
        return Job.of(1, f"task.{self.client}.q.{run}.{name}", payload)

    async def keep(self, *names: str, seed: int = 1) -> None:
        for name in names:
            job = self.job(name, seed)
            await self.results.keep(job.address, {}, job.payload, Record(), job.seq)

    async def has(self, name: str, seed: int) -> bool:
        job = self.job(name, seed)
        return await self.results.has(job.address, job.payload)

    async def collect(self, *names: str) -> None:
        for name in names:
            await self.results.drop(self.client, "run", name)
        await self.results.write()

    async def left(self) -> set[str]:
        # What was ordered before is done before this is answered.
        found = self.streams.read_all("RESULTS", f"result.{self.client}.>")
        return {delivery.subject.rpartition(".")[2] async for delivery in found}

    def be_another_hub(self) -> None:
        self.results = Ledger(self.broker, self.streams).results


@asynccontextmanager
async def opened(home) -> AsyncIterator[Desk]:
    broker = Broker(home.local_url, home.credentials("hub"))
    await broker.connect()
    streams = Streams(broker)
    ledger = Ledger(broker, streams)
    await ledger.prepare()
    try:
        yield Desk(broker, streams, ledger.results)
    finally:
        await broker.aclose()


async def test_a_result_lingers_after_it_was_collected(network_home, clock) -> None:
    async with opened(network_home) as desk:
        await desk.keep("a", "b", "c")
        await desk.collect("a", "b")
        clock.now += module.LINGER - 1
        await desk.results.write()
        assert await desk.left() == {"a", "b", "c"}
        clock.now += 2
        await desk.results.write()
        assert await desk.left() == {"c"}


async def test_of_many_results_of_a_client_the_oldest_go_at_once(
    network_home, clock, monkeypatch
) -> None:
    monkeypatch.setattr(module, "MOST_LINGERING", 2)
    async with opened(network_home) as desk:
        await desk.keep("a", "b", "c", "d")
        for _ in range(5):
            await desk.collect("a")
        assert await desk.left() == {"a", "b", "c", "d"}
        await desk.collect("b", "c")
        assert await desk.left() == {"b", "c", "d"}
        first, desk.client = desk.client, "other"
        await desk.keep("x")
        await desk.collect("x")
        desk.client = first
        assert await desk.left() == {"b", "c", "d"}


async def test_what_an_earlier_hub_kept_stays_until_it_is_collected(network_home, clock) -> None:
    async with opened(network_home) as desk:
        await desk.keep("a", "b")
        desk.be_another_hub()
        await desk.keep("c", "d")
        await desk.collect("c", "a")
        clock.now += module.LINGER + 1
        await desk.results.write()
        assert await desk.left() == {"b", "d"}


async def test_a_result_whose_place_is_not_known_stays_until_it_is_collected(
    network_home, clock, monkeypatch
) -> None:
    async with opened(network_home) as desk:
        await desk.keep("a")
        store = desk.broker.store

        async def store_late(subject: str, payload: bytes) -> int:
            await store(subject, payload)
            raise NetworkError("no answer")

        monkeypatch.setattr(desk.broker, "store", store_late)
        with pytest.raises(NetworkError):
            await desk.keep("b")
        monkeypatch.undo()
        monkeypatch.setattr(module, "monotonic", clock)
        await desk.keep("b", "c")
        await desk.collect("a", "c")
        clock.now += module.LINGER + 1
        await desk.results.write()
        assert await desk.left() == {"b"}
        await desk.collect("b")
        clock.now += module.LINGER + 1
        await desk.results.write()
        assert await desk.left() == set()


async def test_a_closed_run_takes_all_its_results_along_and_no_later_ones(
    network_home, clock
) -> None:
    async with opened(network_home) as desk:
        await desk.keep("a")
        desk.be_another_hub()
        await desk.keep("b")
        await desk.results.drop_run(desk.client, "run")
        await desk.keep("c")
        await desk.results.write()
        assert await desk.left() == {"a", "b", "c"}
        clock.now += module.LINGER + 1
        await desk.results.write()
        assert await desk.left() == {"c"}


async def test_a_task_that_is_asked_again_gets_a_result_of_its_own(network_home, clock) -> None:
    async with opened(network_home) as desk:
        await desk.keep("a", seed=1)
        subject = desk.job("a").address.result
        assert await desk.results.tell(subject)
        assert await desk.has("a", seed=2)
        await desk.collect("a")
        # It came back, as the broker forgot that it was deleted; the other one is new.
        assert await desk.has("a", seed=1)
        assert not await desk.has("a", seed=2)
        assert not await desk.results.tell(subject)
        await desk.keep("a", seed=2)
        assert await desk.results.tell(subject)
        assert await desk.has("a", seed=3)
        kept = await desk.streams.read_last("RESULTS", subject)
        assert kept
        assert split_parts(kept.payload)[1][0] == desk.job("a", seed=2).payload
        clock.now += module.LINGER + 1
        await desk.results.write()
        assert await desk.left() == {"a"}


async def test_a_result_of_an_earlier_hub_takes_its_task_along(network_home, clock) -> None:
    async with opened(network_home) as desk:
        job = desk.job("a")
        await desk.broker.publish(f"task.{desk.client}.q.run.a", job.payload)
        await desk.keep("a")
        desk.be_another_hub()
        await desk.collect("a")
        async with asyncio.timeout(5):
            subject = f"task.{desk.client}.q.run.a"
            while await desk.streams.read_last("TASKS", subject):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert await desk.left() == {"a"}


async def test_all_messages_of_a_stream_are_read_and_a_few_that_go_meanwhile(
    network_home,
) -> None:
    async with opened(network_home) as desk:
        for number in range(600):
            await desk.broker.publish(f"note.{number}", b"x")
        found = [note.subject async for note in desk.streams.read_all("NOTES", "note.*")]
        assert found == [f"note.{number}" for number in range(600)]
        seen = []
        async for note in desk.streams.read_all("NOTES", "note.*"):
            seen.append(note.subject)
            if len(seen) == 10:
                await desk.streams.clear("NOTES", "note.599")
        assert seen == found[:-1]
        await desk.streams.clear("NOTES", "note.*")
        assert [note async for note in desk.streams.read_all("NOTES", "note.*")] == []


async def test_a_result_that_was_collected_before_the_broker_could_say_so_is_kept_once(
    network_home, clock
) -> None:
    async with opened(network_home) as desk:
        await desk.keep("a")
        await desk.collect("a")
        before = await desk.streams.last("RESULTS")
        await desk.keep("a")
        assert await desk.streams.last("RESULTS") == before
        clock.now += module.LINGER + 1
        await desk.results.write()
        assert await desk.left() == set()


async def test_a_refusal_is_told_each_time(network_home, clock) -> None:
    async with opened(network_home) as desk:
        address = desk.job("a").address
        for _ in range(2):
            before = await desk.streams.last("RESULTS")
            await desk.results.keep(address, {"error": ["StateError", "no"]}, b"", Record(), 1)
            assert await desk.streams.last("RESULTS") == before + 1
            assert await desk.results.tell(address.result)
            await desk.collect("a")
