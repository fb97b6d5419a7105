"""One client's tasks, and the disk that all share."""

from __future__ import annotations

import asyncio
import logging

from dria_magpie import Dria, GenerationRequest, MagPie, Task
from dria_magpie.network.broker import Broker
from dria_magpie.network.hub import quota
from dria_magpie.testing import ScriptedEngine
from tests.integration.remote_field import join, running_agent, running_hub, wait_for_nodes

FLOOD, BYTES = 2_000, 1_000


async def test_a_client_that_fills_the_disk_loses_its_queue_and_nobody_else(
    network_home, monkeypatch, caplog
) -> None:
    caplog.set_level(logging.ERROR, logger="dria_magpie.network.hub.quota")
    monkeypatch.setattr(quota, "MOST_BYTES", FLOOD * BYTES // 2)
    monkeypatch.setattr(quota, "_LOOK", 0.1)
    go_on = asyncio.Event()

    async def answer(_: GenerationRequest) -> str:
        await go_on.wait()
        return "word"

    engine = ScriptedEngine(answer, models=["m"], slots=1)
    mine = [Task(workflow=MagPie().workflow(f"Scientist {n}", "A cook")) for n in range(20)]
    async with (
        running_hub(network_home) as hub,
        running_agent(network_home, [engine]),
        Dria(join(network_home)) as dria,
    ):
        await wait_for_nodes(hub, 1)
        flooder = network_home.invite("client", "flooder")
        running = asyncio.create_task(dria.execute(mine))
        async with asyncio.timeout(10):
            while not await hub._streams.size("TASKS"):  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.02)
        broker = Broker(network_home.local_url, flooder)
        await broker.connect()
        # Nobody has opened this queue, so nobody reads it.
        for number in range(FLOOD):
            subject = f"task.{flooder.token}.any.run.{number}"
            await broker.publish(subject, b"x" * BYTES)
        await broker.flush()
        async with asyncio.timeout(10):
            while not caplog.records:  # noqa: ASYNC110 - it is told in the log alone
                await asyncio.sleep(0.02)
            while await hub._streams.size("TASKS") > BYTES * FLOOD // 10:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert {record.client for record in caplog.records} == {flooder.token}
        go_on.set()
        results = await running
        await broker.aclose()
    assert [result.error for result in results] == [None] * len(mine)


async def test_who_has_most_is_found_behind_a_gap(network_home) -> None:
    """Places of tasks that are gone stand for nobody."""
    async with running_hub(network_home) as hub:
        one, other = (network_home.invite("client", f"gap-{n}").token for n in "ab")

        async def hand_in(client: str, count: int, size: int) -> None:
            for number in range(count):
                name = f"{size}-{number}"
                await hub._broker.publish(f"task.{client}.q.run.{name}", b"x" * size)

        before = await hub._streams.last("TASKS")
        await hand_in(one, 1, 10)
        await hand_in("gone", 3_000, 10)
        await hand_in(one, 20, 900)
        await hand_in(other, 200, 1_000)
        async with asyncio.timeout(10):
            while await hub._streams.last("TASKS") < before + 3_221:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await hub._ledger.tasks.clear("task.gone.>")
        assert await quota.Quota(hub._streams, hub._ledger.tasks)._find_largest() == other
