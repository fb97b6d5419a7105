"""What only a network of machines has: nodes that come and go."""

from __future__ import annotations

import asyncio

import pytest

from dria_magpie import Dria, MagPie, Task
from dria_magpie.errors import EndpointError, EngineError
from dria_magpie.testing import ScriptedEngine
from tests.integration.remote_field import join, running_agent, running_hub, wait_for_nodes


async def test_a_client_sees_nodes_that_come_after_it(network_home, monkeypatch) -> None:
    monkeypatch.setattr("dria_magpie.network.remote._LOOK", 0.02)
    async with running_hub(network_home) as hub, Dria(join(network_home)) as dria:
        assert await dria.nodes() == ()
        async with running_agent(network_home, [ScriptedEngine(["a"], models=["m"])], slots=3):
            await wait_for_nodes(hub, 1)
            async with asyncio.timeout(5):
                while not (nodes := await dria.nodes()):  # noqa: ASYNC110 - nobody is told of it
                    await asyncio.sleep(0.01)
        assert [(node.models, node.slots) for node in nodes] == [(("m",), 3)]


async def test_what_came_to_nothing_is_tried_again_when_it_is_asked_again(
    network_home, monkeypatch
) -> None:
    """A week is long for a server that was away for a minute."""
    monkeypatch.setattr("dria_magpie.network.pending.ASK_AGAIN", 0.05)
    answers = [EndpointError("down", 500), "word", "word"]
    engine = ScriptedEngine(answers, models=["m"])
    task = Task(workflow=MagPie().workflow("A", "B"))
    async with running_hub(network_home) as hub, running_agent(network_home, [engine]):
        await wait_for_nodes(hub, 1)
        async with Dria(join(network_home, run_id="again")) as dria:
            with pytest.raises(EngineError, match="down"):
                await dria.execute(task)
            async with asyncio.timeout(10):
                while not hub._ledger.results._leaving:  # noqa: ASYNC110 - nobody is told of it
                    await asyncio.sleep(0.01)
            result = await dria.execute(task)
    assert [turn.text for turn in result.turns] == ["word", "word"]
