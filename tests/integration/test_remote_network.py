"""What only a network of machines has: nodes that come and go."""

from __future__ import annotations

import asyncio

from dria_magpie import Dria
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
