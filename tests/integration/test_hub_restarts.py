"""A hub that dies, and what the next one makes of what it finds."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dria_magpie import Dria, GenerationRequest, MagPie, Task, TaskResult
from dria_magpie.network.broker import Broker
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.envelope import split_parts
from dria_magpie.network.hub import Hub
from dria_magpie.network.hub.tasks import Lane
from dria_magpie.network.order import Order, write_order
from dria_magpie.network.record import Record
from dria_magpie.network.signing import NodeKey
from dria_magpie.testing import ScriptedEngine
from dria_magpie.workflow import ExecutionState
from tests.integration.remote_field import (
    join,
    running_agent,
    running_hub,
    wait_for_nodes,
)

QUICK = 20


def dialogue(name: str) -> Task:
    return Task(workflow=MagPie().workflow(f"{name} scientist", "A cook"))


class SlowAndQuick:
    """An engine that counts its calls, and answers those of one dialogue when it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on = asyncio.Event()
        self.engine = ScriptedEngine(self._answer, models=["m"], slots=8)
        self.tasks = [dialogue("A slow"), *(dialogue(f"Quick {n}") for n in range(QUICK))]

    async def _answer(self, request: GenerationRequest) -> str:
        self.calls += 1
        if "slow" in request.messages[0].content:
            await self.go_on.wait()
        return "word"


@asynccontextmanager
async def mortal_hub(home) -> AsyncIterator[Hub]:
    """Run a hub that writes nothing down any more at its end."""

    async def write() -> None:
        pass

    async with running_hub(home, check_share=0) as hub:
        await wait_for_nodes(hub, 1)
        yield hub
        hub._ledger.write = write  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Have everything happen soon that is not urgent."""
    monkeypatch.setattr("dria_magpie.network.pending.ASK_AGAIN", 0.05)
    monkeypatch.setattr("dria_magpie.network.questions._ASK_WAIT", 0.5)
    monkeypatch.setattr("dria_magpie.network.hub.results.LINGER", 0.0)
    monkeypatch.setattr("dria_magpie.network.agent.BEAT", 0.1)
    monkeypatch.setattr("dria_magpie.network.hub.registry.BEAT", 0.1)


async def wait_for(done) -> None:
    async with asyncio.timeout(10):
        while not await done():  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.02)


async def wait_until_gone(hub: Hub, before: int) -> None:
    """Wait until results were deleted that came since then."""

    async def is_gone() -> bool:
        return await hub._streams.size("RESULTS") <= before and not hub._ledger.results._runs

    await wait_for(is_gone)


async def end(hub: Hub, results: AsyncGenerator[TaskResult, None]) -> None:
    """Take the last result, and wait until nothing runs any more."""
    assert (await anext(results)).error is None
    await results.aclose()

    async def is_idle() -> bool:
        return not hub._board.jobs() and not (await hub.status())["running"]

    await wait_for(is_idle)


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
async def test_what_was_collected_is_not_run_again(network_home, named) -> None:
    field = SlowAndQuick()
    network = join(network_home, run_id="again" if named else None)
    dria = Dria(network)
    async with running_agent(network_home, [field.engine]):
        async with mortal_hub(network_home) as hub:
            before = await hub._streams.size("RESULTS")
            results = dria.stream(field.tasks)
            for _ in range(QUICK):
                assert (await anext(results)).error is None
            for task in field.tasks[1:]:
                network.forget(task)
            await wait_until_gone(hub, before)
        async with mortal_hub(network_home) as hub:
            field.go_on.set()
            await end(hub, results)
            await dria.aclose()
    assert field.calls == 2 * (QUICK + 1)


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "notes gone"])
async def test_what_an_earlier_hub_kept_is_not_run_again(network_home, noted) -> None:
    field = SlowAndQuick()
    network = join(network_home, run_id=f"thrice-{noted}")
    dria = Dria(network)
    async with running_agent(network_home, [field.engine]):
        async with mortal_hub(network_home) as hub:
            before = await hub._streams.size("RESULTS")
            results = dria.stream(field.tasks)
            for _ in range(QUICK):
                assert (await anext(results)).error is None
            [slow] = hub._board.jobs()
            for seq in () if noted else range(slow.seq + 1, slow.seq + QUICK + 1):
                await hub._streams.clear("NOTES", f"note.{seq}")
        async with mortal_hub(network_home) as hub:
            for task in field.tasks[1:]:
                network.forget(task)
            await wait_until_gone(hub, before)
        async with mortal_hub(network_home) as hub:
            field.go_on.set()
            await end(hub, results)
            await dria.aclose()
    assert field.calls == 2 * (QUICK + 1)


async def test_results_go_once_they_were_collected(network_home) -> None:
    field = SlowAndQuick()
    field.go_on.set()
    async with running_agent(network_home, [field.engine]), mortal_hub(network_home) as hub:
        before = await hub._streams.size("RESULTS")
        network = join(network_home, run_id="short")
        async with Dria(network) as dria:
            assert len(await dria.execute(field.tasks)) == QUICK + 1
            assert await hub._streams.size("RESULTS") > before
            for task in field.tasks:
                network.forget(task)
        async with Dria(join(network_home)) as dria:
            assert len(await dria.execute(field.tasks)) == QUICK + 1
        await wait_until_gone(hub, before)


@pytest.mark.parametrize("recorded", [True, False], ids=["with a record", "without"])
async def test_notes_and_records_of_another_task_at_the_same_place_count_for_nothing(
    network_home, recorded
) -> None:
    """A broker that dies may forget its last tasks, and gives their places to others."""
    key, mine, other = NodeKey.generate(), dialogue("A quick"), dialogue("Another")
    order = write_order(other, other.workflow, ExecutionState.start(other.workflow))
    record = Record().sealed(Order.read(order), key, "nonce", "state")
    assigned = [key.address, "nonce", "m", 0, time.time()]
    async with running_hub(network_home, check_share=0) as hub:
        seq = await hub._streams.last("TASKS") + 1
        note = {"task": Order.read(order).digest.hex(), "assigned": assigned, "losses": []}
        await hub._broker.publish(f"note.{seq}", json.dumps(note).encode())
        if recorded:
            await hub._broker.publish(f"hub.record.{seq}", record.to_bytes())
        client = network_home.invite("client", f"by-hand-{int(recorded)}")
        await hub._ledger.keep_lane(Lane(client.token, "route"))
    payload = write_order(mine, mine.workflow, ExecutionState.start(mine.workflow))
    broker = Broker(network_home.local_url, client)
    await broker.connect()
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(delivery: Delivery) -> None:
        told.put_nowait(delivery.payload)

    await broker.subscribe(f"told.{client.token}.run.*", hear)
    await broker.publish(f"task.{client.token}.route.run.it", payload)
    await broker.flush()
    engine = ScriptedEngine(lambda _: "word", models=["m"])
    async with running_agent(network_home, [engine]) as agent, mortal_hub(network_home) as hub:
        async with asyncio.timeout(5):
            _, (answered, made) = split_parts(await told.get())
        status = await hub.status()
    await broker.aclose()
    assert answered == payload
    assert {seal.node for seal in Record.read(made).seals} == {agent.address}
    told_of = next(n for n in status["nodes"] if n["address"] == agent.address)
    assert not any(told_of["failures"].values())


async def test_a_broker_that_forgets_tasks_gives_their_places_to_others(network_home) -> None:
    calls: Counter[str] = Counter()
    go_on = asyncio.Event()

    async def answer(request: GenerationRequest) -> str:
        calls[request.messages[0].content] += 1
        if "First" in request.messages[0].content:
            await go_on.wait()
        return "word"

    engine = ScriptedEngine(answer, models=["m"], slots=8)
    first, second = ([dialogue(f"{who} {n}") for n in range(4)] for who in ("First", "Second"))
    async with (
        running_agent(network_home, [engine]),
        mortal_hub(network_home) as hub,
        Dria(join(network_home)) as one,
        Dria(join(network_home)) as other,
    ):
        early = asyncio.create_task(one.execute(first))

        async def is_at_work() -> bool:
            return len(calls) == len(first)

        await wait_for(is_at_work)
        await hub._streams._api("STREAM.DELETE.TASKS", {})
        hub._reconnect()
        async with asyncio.timeout(5):
            late = await other.execute(second)
        go_on.set()
        results = [*await early, *late]
    assert [result.error for result in results] == [None] * 8
    # A name is in the prompts of the one who has it only.
    assert set(calls.values()) == {1}
