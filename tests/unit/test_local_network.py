from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

import pytest

from dria_magpie.errors import (
    DrainedError,
    EngineError,
    GraphError,
    InvalidInputError,
    ModelFileError,
    NoNodeError,
)
from dria_magpie.models import Task, TaskResult
from dria_magpie.network import LocalNetwork
from dria_magpie.network.slots import Slots
from dria_magpie.node import Node
from dria_magpie.testing import ScriptedEngine
from tests.unit.flow import edge, graph, task

ONE = graph(task("a"))
TWO = graph(task("a"), task("b"), steps=[edge("a", "b"), edge("b")])


class Gate:
    """An engine whose answers wait until they are let through."""

    def __init__(self, **more):
        self.arrived = asyncio.Queue()
        self.engine = ScriptedEngine(self.answer, **more)

    async def answer(self, request):
        release = asyncio.Event()
        await self.arrived.put(release)
        await release.wait()
        return "said"

    async def next(self):
        return await asyncio.wait_for(self.arrived.get(), 5)


class Down(ScriptedEngine):
    async def start(self):
        raise ModelFileError("no weights")


def echo(**more):
    return ScriptedEngine(lambda request: "said", **more)


async def started(*nodes):
    network = LocalNetwork(list(nodes))
    await network.start()
    return network


async def result(network, values=ONE, **more):
    events = [event async for event in network.run(Task(workflow=values, **more))]
    assert isinstance(events[-1], TaskResult)
    return events[-1]


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_task_runs_on_a_node_that_serves_its_model():
    network = await started(
        Node(echo(models=["m"]), address="one"), Node(echo(models=["k"]), address="two")
    )
    ran = await result(network, models=["k"], id="t")
    assert (ran.result, ran.model, ran.node, ran.id) == ("said", "k", "two", "t")


async def test_slots_are_handed_out_first_come_first_served():
    gate = Gate(slots=1)
    network = await started(Node(gate.engine))
    done = asyncio.Queue()

    async def work(name):
        await result(network)
        await done.put(name)

    running = [asyncio.create_task(work(name)) for name in range(4)]
    for expected in range(4):
        release = await gate.next()
        assert gate.arrived.empty()
        assert network.nodes[0].running == 1
        release.set()
        assert await done.get() == expected
    await asyncio.gather(*running)
    assert network.nodes[0].running == 0


async def test_a_slow_dialogue_holds_no_other_back():
    gate = Gate(slots=2)
    network = await started(Node(gate.engine))
    slow = asyncio.create_task(result(network, TWO))
    held = await gate.next()
    for _ in range(3):
        fast = asyncio.create_task(result(network, TWO))
        for _ in range(2):
            (await gate.next()).set()
        assert (await fast).result == "said"
    assert not slow.done()
    held.set()
    (await gate.next()).set()
    assert (await slow).result == "said"


async def test_the_node_with_most_slots_free_comes_first():
    gates = [Gate(slots=1), Gate(slots=3)]
    network = await started(*(Node(gate.engine, address=str(g)) for g, gate in enumerate(gates)))
    running, releases = [], []
    for free in (1, 1, 0, 1):
        running.append(asyncio.create_task(result(network)))
        releases.append(await gates[free].next())
    assert [node.running for node in network.nodes] == [1, 3]
    for release in releases:
        release.set()
    await asyncio.gather(*running)


async def test_a_cancelled_waiter_gives_its_place_to_the_next():
    gate = Gate(slots=1)
    network = await started(Node(gate.engine))
    running = [asyncio.create_task(result(network)) for _ in range(3)]
    release = await gate.next()
    running[1].cancel()
    release.set()
    (await gate.next()).set()
    assert (await running[2]).result == "said"
    with pytest.raises(asyncio.CancelledError):
        await running[1]
    assert network.nodes[0].running == 0


async def test_cancelling_and_closing_a_run_free_its_slot():
    gate = Gate(slots=1)
    network = await started(Node(gate.engine))
    running = asyncio.create_task(result(network))
    await gate.next()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with aclosing(network.run(Task(workflow=TWO))) as events:
        following = asyncio.create_task(anext(events))
        (await gate.next()).set()
        await following
        assert network.nodes[0].running == 1
    assert network.nodes[0].running == 0


async def test_without_a_node_for_it_a_task_ends_with_an_error_that_says_how_to_serve_it():
    network = await started(Node(echo(models=["m"]), address="one"), Node(Down([])))
    ran = await result(network, models=["x"], step_name="s")
    assert isinstance(ran.error, NoNodeError)
    first, *reasons, how = str(ran.error).splitlines()
    assert first == "no node can run this task:"
    assert reasons == [
        "  1. one (scripted) serves m: it does not serve 'x'",
        "  local (scripted) did not start: no weights",
    ]
    assert how.startswith("  Serve the model with --endpoint URL, DRIA_ENDPOINT=URL or Dria(nodes=")
    assert (ran.result, ran.step_name) == (None, "s")


async def test_a_graph_that_is_none_is_the_results_error():
    ran = await result(await started(Node(echo())), {"steps": 5})
    assert isinstance(ran.error, GraphError)


async def test_a_node_that_cannot_start_is_left_out(caplog):
    with caplog.at_level(logging.WARNING):
        network = await started(
            Node(Down([], models=["x"])), Node(echo(models=["m"]), address="up")
        )
    assert [node.address for node in network.nodes] == ["up"]
    assert "left out: no weights" in caplog.text
    assert (await result(network)).node == "up"


async def test_if_no_node_can_start_the_first_ones_error_says_why():
    with pytest.raises(ModelFileError, match="no weights"):
        await started(Node(Down([])), Node(Down([])))


async def test_a_defect_while_starting_stops_every_node():
    closed = []

    class Broken(ScriptedEngine):
        async def start(self):
            raise KeyError("defect")

    class Fine(ScriptedEngine):
        async def aclose(self):
            closed.append(self)

    fine = Fine([])
    with pytest.raises(EngineError, match="defect") as caught:
        await started(Node([fine, Broken([])]))
    assert isinstance(caught.value.__cause__, KeyError)
    assert fine in closed


async def test_a_network_can_be_started_again():
    network = await started(Node(echo()))
    await network.start()
    await network.aclose()
    assert network.nodes == ()
    assert isinstance((await result(network)).error, NoNodeError)
    await network.start()
    assert (await result(network)).result == "said"


async def test_closing_ends_the_runs_and_those_who_wait_for_a_slot():
    gate = Gate(slots=1)
    network = await started(Node(gate.engine))
    running = [asyncio.create_task(result(network)) for _ in range(3)]
    await gate.next()
    await network.aclose()
    ended = [str(ran.error) for ran in await asyncio.gather(*running)]
    assert ["broke the call off" in text for text in ended] == [True, False, False]
    assert ["was closed before" in text for text in ended] == [False, True, True]
    await network.start()
    again = asyncio.create_task(result(network))
    (await gate.next()).set()
    assert (await again).result == "said"
    assert network.nodes[0].running == 0


async def test_draining_ends_those_who_wait_and_keeps_the_answers_under_way():
    gate = Gate(slots=2)
    network = await started(Node(gate.engine))
    running = [asyncio.create_task(result(network, TWO)) for _ in range(4)]
    releases = [await gate.next() for _ in range(2)]
    network.drain()
    network.drain()
    waited = await asyncio.gather(*running[2:], result(network, TWO))
    assert [(type(ran.error), ran.turns) for ran in waited] == [(DrainedError, ())] * 3
    assert len({id(ran.error) for ran in waited}) == 3
    assert not any(run.done() for run in running[:2])
    for release in releases:
        release.set()
    for ran in await asyncio.gather(*running[:2]):
        assert isinstance(ran.error, DrainedError)
        assert [turn.text for turn in ran.turns] == ["said"]
    assert gate.engine.calls == 2
    await network.aclose()
    await network.start()
    again = asyncio.create_task(result(network))
    (await gate.next()).set()
    assert (await again).result == "said"


async def test_draining_a_network_that_is_down_does_nothing():
    network = LocalNetwork([Node(echo())])
    network.drain()
    await network.start()
    assert (await result(network)).result == "said"


async def test_closing_leaves_a_run_alone_that_is_being_cancelled():
    gate = Gate(slots=1)
    network = await started(Node(gate.engine))
    running = [asyncio.create_task(result(network)) for _ in range(2)]
    await gate.next()
    running[1].cancel()
    await network.aclose()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert isinstance(outcomes[1], asyncio.CancelledError)


async def test_a_task_that_nobody_runs_is_refused_before_anything_is_started():
    class Eager(ScriptedEngine):
        started = False

        async def start(self):
            self.started = True

    engine = Eager([], models=["m"])
    network = LocalNetwork([Node(engine)])
    network.check(Task(workflow=ONE, models=["m"]))
    with pytest.raises(NoNodeError, match="does not serve 'x'"):
        network.check(Task(workflow=ONE, models=["x"]))
    with pytest.raises(GraphError):
        network.check(Task(workflow={}))
    # What an endpoint serves is not known before it was asked.
    LocalNetwork([Node(Eager([], models=[]))]).check(Task(workflow={}))
    assert not engine.started


async def test_a_network_that_was_not_started_says_so():
    ran = await result(LocalNetwork([Node(echo())]))
    assert "not started" in str(ran.error)


def test_a_network_needs_a_node():
    with pytest.raises(InvalidInputError):
        LocalNetwork([])


async def test_a_slot_goes_to_the_first_waiter_that_can_use_it():
    slots = Slots([1, 1])
    assert (await slots.take([0, 1]), await slots.take([0, 1])) == (0, 1)
    for_one, for_any = (asyncio.create_task(slots.take(nodes)) for nodes in ([1], [0, 1]))
    await settle()
    slots.give_back(0)
    assert await for_any == 0
    assert not for_one.done()
    slots.give_back(1)
    assert await for_one == 1
    assert (slots.taken(0), slots.taken(1)) == (1, 1)


async def test_a_waiter_that_was_cancelled_is_forgotten():
    slots = Slots([1])
    await slots.take([0])
    waiters = [asyncio.create_task(slots.take([0])) for _ in range(100)]
    await settle()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    assert not slots._waiting
    slots.give_back(0)
    assert slots.taken(0) == 0


async def test_a_slot_given_to_a_waiter_in_the_moment_of_its_cancelling_goes_on():
    slots = Slots([1])
    await slots.take([0])
    first, second = (asyncio.create_task(slots.take([0])) for _ in range(2))
    await settle()
    slots.give_back(0)
    first.cancel()
    assert await second == 0
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_slot_passes_over_a_waiter_that_is_being_cancelled():
    slots = Slots([1])
    await slots.take([0])
    first, second = (asyncio.create_task(slots.take([0])) for _ in range(2))
    await settle()
    first.cancel()
    slots.give_back(0)
    assert await second == 0
    slots.give_back(0)
    assert slots.taken(0) == 0
