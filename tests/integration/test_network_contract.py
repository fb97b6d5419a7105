"""What every network keeps to: the one in this process, and the one of many machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from dria_magpie import (
    ContextLengthError,
    DrainedError,
    Dria,
    EndpointError,
    ExecutionState,
    GenerationRequest,
    GraphError,
    LocalNetwork,
    MagPie,
    Network,
    Node,
    NoNodeError,
    Sampling,
    Task,
    TaskResult,
    TurnDone,
)
from dria_magpie.models import Engine
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.server.process import start_server
from dria_magpie.testing import ScriptedEngine
from tests.integration.remote_field import (
    join,
    make_home,
    running_agent,
    running_hub,
    wait_for_nodes,
)


class Field:
    """Makes a network of nodes that have these engines."""

    def __init__(self, kind: str, home: NetworkHome) -> None:
        self._kind = kind
        self._home = home

    @asynccontextmanager
    async def network(
        self, *engines: Engine | Sequence[Engine], slots: int | None = None
    ) -> AsyncIterator[Network]:
        nodes = [engine if isinstance(engine, Sequence) else [engine] for engine in engines]
        async with AsyncExitStack() as stack:
            if self._kind == "local":
                network: Network = LocalNetwork([Node(node, slots=slots) for node in nodes])
            else:
                hub = await stack.enter_async_context(running_hub(self._home))
                for node in nodes:
                    await stack.enter_async_context(running_agent(self._home, node, slots))
                await wait_for_nodes(hub, len(nodes))
                network = join(self._home)
            await network.start()
            stack.push_async_callback(network.aclose)
            yield network


@pytest.fixture(params=["local", "remote"])
def field(request, network_home):
    return Field(request.param, network_home)


def dialogue(turns: int = 2, **options) -> Task:
    sampling = {"instructor_sampling": Sampling(seed=5), "responder_sampling": Sampling(seed=5)}
    workflow = MagPie().workflow("A scientist", "An assistant", turns, **sampling)
    return Task(workflow=workflow, **options)


def say(request: GenerationRequest) -> str:
    return f"said {request.sampling.seed}"


async def collect(network: Network, task: Task, state: ExecutionState | None = None):
    async with aclosing(network.run(task, state)) as events:
        return [event async for event in events]


async def test_a_run_tells_of_each_turn_and_ends_in_a_result(field) -> None:
    engine = ScriptedEngine(say, models=["m"])
    async with field.network(engine) as network:
        task = dialogue(3)
        *turns, result = await collect(network, task)
    assert [type(event) for event in turns] == [TurnDone] * 6
    assert [event.turn.text for event in turns] == [f"said {n}" for n in range(5, 11)]
    assert {event.task_id for event in turns} == {task.id}
    assert isinstance(result, TaskResult)
    assert (result.id, result.error, result.model) == (task.id, None, "m")
    assert result.turns == turns[-1].state.turns
    assert {turn.node for turn in result.turns} == {result.node}
    assert len(MagPie().parse_result(result)["dialogue"]) == 6
    assert engine.calls == 6


@pytest.mark.parametrize("known", [1, 3, 4])
async def test_a_run_goes_on_from_a_state_and_makes_no_call_twice(field, known: int) -> None:
    engine = ScriptedEngine(say, models=["m"])
    async with field.network(engine) as network:
        first = await collect(network, dialogue())
        state = ExecutionState.from_dict(first[known - 1].state.to_dict())
        made = engine.calls
        *turns, result = await collect(network, dialogue(), state)
    assert engine.calls - made == len(turns) == 4 - known
    assert result.error is None
    assert [turn.text for turn in result.turns] == [turn.text for turn in first[-1].turns]
    assert result.result == first[-1].result


async def test_a_failure_for_good_is_a_result_with_the_turns_before_it(field) -> None:
    def answer(request: GenerationRequest) -> str | Exception:
        if request.sampling.seed == 7:
            return ContextLengthError("too long for this model")
        return say(request)

    async with field.network(ScriptedEngine(answer, models=["m"])) as network:
        *turns, result = await collect(network, dialogue())
    assert isinstance(result.error, ContextLengthError)
    assert "too long" in str(result.error)
    assert [turn.text for turn in result.turns] == ["said 5", "said 6"]
    assert len(turns) == 2


async def test_a_workflow_that_fails_by_itself_fails_as_it_would_here(field) -> None:
    graph = MagPie().workflow("A", "B").model_dump()
    graph["config"]["max_steps"] = 1
    async with field.network(ScriptedEngine(say, models=["m"])) as network:
        *_, result = await collect(network, Task(workflow=graph))
    assert type(result.error).__name__ == "LimitError"
    assert "max_steps" in str(result.error)


async def test_a_model_that_nobody_serves_is_refused_at_once(field) -> None:
    engine = ScriptedEngine(say, models=["small", "large"])
    async with field.network(engine) as network:
        [result] = await collect(network, dialogue(models=["unknown"]))
    assert isinstance(result.error, NoNodeError)
    assert "'unknown'" in str(result.error)
    assert "small" in str(result.error)
    assert engine.calls == 0


async def test_a_graph_that_is_none_is_refused(field) -> None:
    async with field.network(ScriptedEngine(say, models=["m"])) as network:
        [result] = await collect(network, Task(workflow={"tasks": 5}))
    assert isinstance(result.error, GraphError)


async def test_models_go_to_the_nodes_that_serve_them(field) -> None:
    small, large = (ScriptedEngine(say, models=[name]) for name in ("small", "large"))
    async with field.network(small, large) as network:
        for model in ("large", "small", "large"):
            *_, result = await collect(network, dialogue(1, models=["neither", model]))
            assert (result.error, result.model) == (None, model)
    assert (small.calls, large.calls) == (2, 4)


async def test_a_node_runs_as_many_at_once_as_it_has_slots(field) -> None:
    running = most = 0

    async def answer(request: GenerationRequest) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return say(request)

    async with field.network(ScriptedEngine(answer, models=["m"]), slots=3) as network:
        runs = await asyncio.gather(*(collect(network, dialogue(1)) for _ in range(12)))
    assert all(run[-1].error is None for run in runs)
    assert most == 3


async def test_closing_a_run_stops_the_call_under_way(field) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def answer(request: GenerationRequest) -> str:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise
        return say(request)

    async with field.network(ScriptedEngine(answer, models=["m"])) as network:
        run = asyncio.create_task(collect(network, dialogue()))
        await asyncio.wait_for(begun.wait(), 5)
        run.cancel()
        await asyncio.wait({run})
        await asyncio.wait_for(stopped.wait(), 5)


async def test_a_drained_network_ends_what_waits(field) -> None:
    async def wait(request: GenerationRequest) -> str:
        await asyncio.sleep(0.05)
        return say(request)

    async with field.network(ScriptedEngine(wait, models=["m"]), slots=1) as network:
        runs = [asyncio.create_task(collect(network, dialogue())) for _ in range(3)]
        await asyncio.sleep(0.02)
        network.drain()
        ended = await asyncio.wait_for(asyncio.gather(*runs), 5)
        assert all(isinstance(run[-1].error, DrainedError) for run in ended)
        await network.aclose()
        await network.start()


async def test_two_equal_tasks_are_two(field) -> None:
    engine = ScriptedEngine(say, models=["m"])
    async with field.network(engine) as network:
        task = dialogue(1)
        both = await asyncio.gather(collect(network, task), collect(network, task))
        third = await collect(network, task)
    assert [run[-1].error for run in (*both, third)] == [None] * 3
    assert engine.calls == 6


async def test_a_stream_of_tasks_is_served(field) -> None:
    engine = ScriptedEngine(say, models=["m"])
    async with field.network(engine) as network, Dria(network) as dria:
        tasks = (dialogue(1, id=f"task-{number}") for number in range(40))
        names = {result.id async for result in dria.stream(tasks)}
    assert names == {f"task-{number}" for number in range(40)}


async def test_a_node_that_fails_once_is_not_the_end(field) -> None:
    """Here the engine's own retries are what helps; there another node."""
    failures = [EndpointError("down", 503)]

    def answer(request: GenerationRequest) -> str | Exception:
        return failures.pop() if failures else say(request)

    async with field.network(
        ScriptedEngine(answer, models=["m"]), ScriptedEngine(answer, models=["m"])
    ) as network:
        *_, first = await collect(network, dialogue(1))
        *_, second = await collect(network, dialogue(1))
    assert second.error is None
    assert first.error is None or isinstance(first.error, EndpointError)


async def test_a_node_that_is_started_first_waits_for_its_network(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DRIA_STORE_KEY", "a key for tests and nothing else")
    home = make_home(tmp_path)
    async with running_agent(home, [ScriptedEngine(say, models=["m"])]):
        await asyncio.sleep(0.2)
        server = await start_server(home)
        try:
            async with running_hub(home) as hub:
                await wait_for_nodes(hub, 1)
        finally:
            await server.stop()
