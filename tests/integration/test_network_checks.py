"""Spot checks on a real broker: who does not do the work is found out."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

from dria_magpie import Dria, GenerationRequest, MagPie, Sampling, Task
from dria_magpie.network.hub import Hub
from dria_magpie.testing import ScriptedEngine
from tests.integration.remote_field import join, running_agent, running_hub, wait_for_nodes

WORDS = ("harbour", "lantern", "violin", "meadow", "copper", "orchard", "thunder", "velvet")
STOCK = "I am sorry, but as a language model I cannot help with that. " * 12


def write(request: GenerationRequest) -> str:
    """Write as a model does: the same text for the same seed."""
    chance = random.Random(request.sampling.seed)
    return " ".join(chance.choice(WORDS) + str(chance.randrange(100)) for _ in range(80))


def dialogue(number: int) -> Task:
    sampling = Sampling(seed=1000 * number, temperature=0.8)
    workflow = MagPie().workflow(
        "A", "B", instructor_sampling=sampling, responder_sampling=sampling
    )
    return Task(workflow=workflow)


async def run_network(home, answers, *, share: float, tasks: int) -> dict[str, dict[str, int]]:
    """Run tasks on nodes, a node an answer; give the failures of each node by its position."""
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(home, check_share=share))
        agents = [
            await stack.enter_async_context(
                running_agent(home, [ScriptedEngine(answer, models=["m"])], slots=4)
            )
            for answer in answers
        ]
        await wait_for_nodes(hub, len(agents))
        async with Dria(join(home)) as dria:
            results = [r async for r in dria.stream(dialogue(n) for n in range(tasks))]
        assert all(result.error is None for result in results)
        await _wait_for_checks(hub)
        told = {node["address"]: node["failures"] for node in (await hub.status())["nodes"]}
        return {str(i): told[agent.address] for i, agent in enumerate(agents)}


async def _wait_for_checks(hub: Hub) -> None:
    async with asyncio.timeout(10):
        while (await hub.status())["running"]:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.01)


async def test_a_liar_is_outvoted_and_nobody_else(network_home) -> None:
    failures = await run_network(network_home, [write, write, lambda _: STOCK], share=1.0, tasks=12)
    assert failures["2"]["disputed"] > 0
    assert failures["0"]["disputed"] == failures["1"]["disputed"] == 0


async def test_honest_nodes_pass(network_home) -> None:
    failures = await run_network(network_home, [write, write, write], share=1.0, tasks=12)
    assert all(count == 0 for told in failures.values() for count in told.values())


async def test_without_a_third_nobody_is_condemned(network_home) -> None:
    failures = await run_network(network_home, [write, lambda _: STOCK], share=1.0, tasks=8)
    assert all(told["disputed"] == 0 for told in failures.values())


async def test_nothing_is_run_twice_without_checks(network_home) -> None:
    calls = 0

    def count(request: GenerationRequest) -> str:
        nonlocal calls
        calls += 1
        return write(request)

    await run_network(network_home, [count, count], share=0.0, tasks=10)
    assert calls == 20
