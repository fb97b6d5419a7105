"""The client on scripted engines."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dria_magpie import (
    ContextLengthError,
    Dria,
    DriaMagpieError,
    EndpointError,
    EngineError,
    GenerationRequest,
    InvalidInputError,
    LocalNetwork,
    MagPie,
    Node,
    NoNodeError,
    ParseError,
    Task,
    TaskTimeoutError,
    TurnDone,
)
from dria_magpie.testing import ScriptedEngine


def dialogue(turns: int = 1, name: str = "A") -> Task:
    return Task(workflow=MagPie().workflow(name, "B", turns), id=name)


def echo(request: GenerationRequest) -> str:
    return f"{len(request.messages)} messages"


class Gate:
    """An engine's answer that waits until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)
        self.inside = 0
        self.cancelled = 0

    async def __call__(self, request: GenerationRequest) -> str:
        self.inside += 1
        self.waiting.release()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1
        return "at last"


async def test_one_task_gives_one_result() -> None:
    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        result = await dria.execute(dialogue(turns=3))
    parsed = MagPie().parse_result(result)
    assert [next(iter(item)) for item in parsed["dialogue"]] == ["instructor", "responder"] * 3
    assert parsed["model"] == "scripted"
    assert result.node == "local"
    assert len(result.turns) == 6
    assert result.task_input == {"instructor_persona": "A", "responding_persona": "B"}


async def test_braces_in_a_persona_reach_the_model_as_they_are() -> None:
    engine = ScriptedEngine(echo)
    persona = "likes {{chat}}, {x}, {instructor_persona} and {{responding_persona}}"
    async with Dria(nodes=[Node(engine)]) as dria:
        await dria.execute(dialogue(name=persona, turns=2))
    for request in engine.requests:
        assert persona in request.messages[0].content


async def test_a_list_keeps_the_order_of_the_tasks() -> None:
    started = 0

    async def slower_first(request: GenerationRequest) -> str:
        nonlocal started
        started += 1
        for _ in range(20 - started):
            await asyncio.sleep(0)
        return request.messages[0].content

    tasks = [dialogue(name=f"persona number {i}") for i in range(8)]
    async with Dria(nodes=[Node(ScriptedEngine(slower_first))]) as dria:
        results = await dria.execute(tasks)
        assert await dria.execute([]) == []
    assert [result.id for result in results] == [task.id for task in tasks]


async def test_a_failed_task_raises_alone_and_keeps_its_place_in_a_list() -> None:
    def answer(request: GenerationRequest) -> Any:
        return EndpointError("down", 503) if "bad" in request.messages[0].content else "fine"

    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
        with pytest.raises(EndpointError, match="down"):
            await dria.execute(dialogue(name="bad"))
        good, bad, again = await dria.execute([dialogue(), dialogue(name="bad"), dialogue()])
        streamed = [r async for r in dria.stream([dialogue(name="bad"), dialogue()])]
    assert good.error is None
    assert again.error is None
    assert isinstance(bad.error, EndpointError)
    assert bad.result is None
    assert sorted(bool(result.error) for result in streamed) == [False, True]


async def test_the_error_of_a_run_has_the_turns_before_it() -> None:
    script = ["one?", "two.", "three?", ContextLengthError("too long")]
    async with Dria(nodes=[Node(ScriptedEngine(script))]) as dria:
        with pytest.raises(ContextLengthError) as caught:
            await dria.execute(dialogue(turns=9))
    assert [turn.text for turn in caught.value.turns] == ["one?", "two.", "three?"]
    assert caught.value.result is not None
    assert caught.value.result.model == "scripted"


async def test_a_model_that_nobody_serves_is_refused_at_once_with_what_is_served() -> None:
    engine = ScriptedEngine(echo, models=["a", "b"])
    async with Dria(nodes=[Node(engine)]) as dria:
        with pytest.raises(NoNodeError, match=r"serves a, b.*'c'(.|\n)*--endpoint"):
            await dria.execute(Task(workflow=MagPie().workflow("A", "B"), models=["c"]))
    assert engine.calls == 0


async def test_each_role_may_have_a_model_on_an_engine_of_its_own() -> None:
    asking = ScriptedEngine(["why?"] * 2, models=["asker"])
    answering = ScriptedEngine(["so."] * 2, models=["answerer"])
    graph = MagPie().workflow("A", "B", 2, instructor_model="asker", responder_model="answerer")
    async with Dria(nodes=[Node(engine=[asking, answering])]) as dria:
        result = await dria.execute(Task(workflow=graph))
    assert result.model == "asker, answerer"
    assert [turn.model for turn in result.turns] == ["asker", "answerer"] * 2


async def test_time_that_runs_out_ends_the_calls_and_keeps_the_turns() -> None:
    gate = Gate()

    async def answer(request: GenerationRequest) -> str:
        return (
            "first"
            if len(request.messages) == 2
            and request.messages[1].role == "user"
            and (request.messages[0].content.startswith("You are A,"))
            else await gate(request)
        )

    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
        with pytest.raises(TaskTimeoutError, match="1 finished turns") as caught:
            await dria.execute(dialogue(), timeout=0.3)
        assert isinstance(caught.value, TimeoutError)
        assert [turn.text for turn in caught.value.turns] == ["first"]
        assert gate.cancelled == 1
        late = await dria.execute([dialogue(), dialogue()], timeout=0.3)
        assert [type(result.error) for result in late] == [TaskTimeoutError] * 2
        assert [r.error is None async for r in dria.stream([dialogue()], timeout=0.3)] == [False]


async def test_finished_results_are_kept_when_the_time_of_a_list_runs_out() -> None:
    gate = Gate()

    async def answer(request: GenerationRequest) -> str:
        return "quick" if "quick" in request.messages[0].content else await gate(request)

    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
        quick, slow = await dria.execute([dialogue(name="quick"), dialogue(name="slow")], 0.1)
    assert quick.error is None
    assert isinstance(slow.error, TaskTimeoutError)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
async def test_a_timeout_is_above_zero(timeout: float) -> None:
    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        with pytest.raises(InvalidInputError, match="timeout"):
            await dria.execute(dialogue(), timeout=timeout)


async def test_cancelling_a_run_stops_its_call_and_frees_its_slot() -> None:
    gate = Gate()
    async with Dria(nodes=[Node(ScriptedEngine(gate), slots=1)]) as dria:
        run = asyncio.create_task(dria.execute(dialogue()))
        await gate.waiting.acquire()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert (gate.inside, gate.cancelled) == (0, 1)
        gate.opened.set()
        assert (await dria.execute(dialogue())).error is None


async def test_leaving_a_stream_cancels_what_runs_and_leaves_no_task() -> None:
    gate = Gate()

    async def answer(request: GenerationRequest) -> str:
        return "quick" if "quick" in request.messages[0].content else await gate(request)

    before = asyncio.all_tasks()
    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
        names = ["quick", *(f"slow {i}" for i in range(5))]
        stream = dria.stream(dialogue(name=name) for name in names)
        async for result in stream:
            assert result.id == "quick"
            break
        await stream.aclose()
        assert gate.inside == 0
    assert asyncio.all_tasks() == before


async def test_a_stream_reads_its_tasks_only_as_far_as_there_is_room() -> None:
    read = 0

    def endless() -> Iterator[Task]:
        nonlocal read
        while True:
            read += 1
            yield dialogue()

    async with Dria(nodes=[Node(ScriptedEngine(echo), slots=3)]) as dria:
        stream = dria.stream(endless())
        for taken in range(1, 30):
            await anext(stream)
            assert read <= taken + 2 * 3
        await stream.aclose()


async def test_a_stream_takes_an_async_iterable() -> None:
    async def tasks() -> AsyncIterator[Task]:
        for i in range(5):
            await asyncio.sleep(0)
            yield dialogue(name=f"p{i}")

    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        assert {r.id async for r in dria.stream(tasks())} == {f"p{i}" for i in range(5)}


async def test_an_error_of_the_tasks_iterator_is_raised_after_nothing_is_lost() -> None:
    def tasks() -> Iterator[Task]:
        yield dialogue()
        raise LookupError("row 2 is unreadable")

    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        with pytest.raises(LookupError, match="row 2"):
            async for _ in dria.stream(tasks()):
                pass


async def test_something_that_is_no_task_is_refused() -> None:
    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        for wrong in ({}, [MagPie()], [dialogue(), None]):
            with pytest.raises(InvalidInputError, match="Task"):
                await dria.execute(wrong)  # type: ignore[call-overload]


async def test_on_turn_is_told_of_each_turn_and_its_errors_are_the_callers() -> None:
    seen: list[TurnDone] = []
    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        await dria.execute(dialogue(turns=2), on_turn=seen.append)
        assert [event.turn.task_id for event in seen] == ["instructor", "responder"] * 2
        assert {event.task_id for event in seen} == {"A"}
        for broken in (LookupError, TimeoutError, ParseError):

            def fail(_: TurnDone, broken: type[Exception] = broken) -> None:
                raise broken("mine")

            with pytest.raises(broken, match="mine"):
                await dria.execute(dialogue(), on_turn=fail)
            with pytest.raises(broken, match="mine"):
                await dria.execute([dialogue()], on_turn=fail)


async def test_a_run_goes_on_from_any_state_without_repeating_a_call() -> None:
    first = ScriptedEngine([f"text {i}" for i in range(6)])
    network = LocalNetwork([Node(first)])
    await network.start()
    states = [
        event.state async for event in network.run(dialogue(3)) if isinstance(event, TurnDone)
    ]
    for done, state in enumerate(states, start=1):
        rest = ScriptedEngine([f"text {i}" for i in range(done, 6)])
        other = LocalNetwork([Node(rest)])
        await other.start()
        *_, result = [
            event async for event in other.run(dialogue(3), type(state).from_dict(state.to_dict()))
        ]
        assert rest.calls == 6 - done
        parsed = MagPie().parse_result(result)  # type: ignore[type-var]
        assert [next(iter(m.values())) for m in parsed["dialogue"]] == [
            f"text {i}" for i in range(6)
        ]


async def test_a_network_that_cannot_start_fails_each_task_of_a_list_and_raises_for_one() -> None:
    class Broken(ScriptedEngine):
        starts = 0

        async def start(self) -> None:
            self.starts += 1
            raise EndpointError("not there")

    engine = Broken(echo)
    async with Dria(nodes=[Node(engine)]) as dria:
        with pytest.raises(EndpointError, match="not there"):
            await dria.execute(dialogue())
        results = await dria.execute([dialogue() for _ in range(50)])
        assert [type(result.error) for result in results] == [EndpointError] * 50
        assert engine.starts == 2


def test_one_client_serves_several_event_loops_without_async_with() -> None:
    class Counting(ScriptedEngine):
        running = 0

        async def start(self) -> None:
            self.running += 1

        async def aclose(self) -> None:
            self.running = 0

    engine = Counting(echo)
    dria = Dria(nodes=[Node(engine)])
    threads = threading.active_count()
    for _ in range(3):
        assert asyncio.run(dria.execute(dialogue())).error is None
        assert engine.running == 0
    gc.collect()
    assert threading.active_count() == threads


def test_a_loop_that_was_closed_without_its_generators_does_no_harm() -> None:
    dria = Dria(nodes=[Node(ScriptedEngine(echo))])
    for _ in range(2):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(dria.execute(dialogue())).error is None
        loop.close()


async def test_many_calls_at_once_start_the_network_once() -> None:
    class Slow(ScriptedEngine):
        starts = 0

        async def start(self) -> None:
            self.starts += 1
            await asyncio.sleep(0.01)

    engine = Slow(echo)
    async with Dria(nodes=[Node(engine)]) as dria:
        await asyncio.gather(*(dria.execute(dialogue()) for _ in range(10)))
    assert engine.starts == 1


def test_where_dialogues_run_is_said_once() -> None:
    with pytest.raises(InvalidInputError, match="not both"):
        Dria(LocalNetwork([Node(ScriptedEngine(echo))]), nodes=[Node(ScriptedEngine(echo))])
    with pytest.raises(InvalidInputError, match="nats://"):
        Dria("http://localhost:8000/v1")
    with pytest.raises(InvalidInputError, match="takes credentials"):
        Dria("nats://localhost:4222")
    with pytest.raises(InvalidInputError, match=r"no file missing\.creds"):
        Dria("nats://localhost:4222", creds="missing.creds")
    for nothing in ([],):
        with pytest.raises(InvalidInputError, match="at least one node"):
            Dria(nodes=nothing)


def test_the_environment_decides_where_no_argument_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIA_NETWORK", raising=False)
    monkeypatch.setenv("DRIA_ENDPOINT", "nonsense")
    with pytest.raises(InvalidInputError, match="nonsense"):
        Dria()
    monkeypatch.setenv("DRIA_NETWORK", "nats://somewhere")
    with pytest.raises(InvalidInputError, match="somewhere"):
        Dria()
    assert Dria(nodes=[Node(ScriptedEngine(echo))])


async def test_an_async_on_turn_is_refused() -> None:
    async def tell(_: TurnDone) -> None:
        raise AssertionError

    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        for tasks in (dialogue(), [dialogue()]):
            with pytest.raises(InvalidInputError, match="plain function"):
                await dria.execute(tasks, on_turn=tell)  # type: ignore[call-overload]


async def test_each_failed_result_of_a_list_has_an_error_with_its_own_turns() -> None:
    shared = EndpointError("down", 503)

    def answer(request: GenerationRequest) -> Any:
        return shared if len(request.messages) > 2 else "said"

    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
        results = await dria.execute([dialogue(turns=2, name=name) for name in ("x", "y")])
    for result in results:
        assert isinstance(result.error, EndpointError)
        assert result.error.result is result
        assert (str(result.error), result.error.status) == ("down", 503)
        assert len(result.error.turns) == 2


async def test_time_that_runs_out_ends_an_endless_stream() -> None:
    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        tasks = (dialogue(name=f"p{i}") for i in itertools.count())
        results = [result async for result in dria.stream(tasks, timeout=0.2)]
    assert results[0].error is None


@pytest.mark.parametrize("where", ["engine", "iterator"])
async def test_something_that_cancels_itself_does_not_hang_a_stream(where: str) -> None:
    async def broken() -> AsyncIterator[Task]:
        yield dialogue()
        raise asyncio.CancelledError

    def answer(request: GenerationRequest) -> Any:
        return asyncio.CancelledError() if where == "engine" else "said"

    tasks = [dialogue()] if where == "engine" else broken()
    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria, asyncio.timeout(5):
        if where == "engine":
            [result] = [result async for result in dria.stream(tasks)]
            assert "broke the call off" in str(result.error)
        else:
            with pytest.raises(DriaMagpieError, match="cancelled itself"):
                _ = [result async for result in dria.stream(tasks)]


async def test_closing_a_client_ends_its_runs() -> None:
    gate = Gate()
    async with Dria(nodes=[Node(ScriptedEngine(gate), slots=1)]) as dria:
        runs = [asyncio.create_task(dria.execute([dialogue()])) for _ in range(3)]
        await gate.waiting.acquire()
    results = [result for run in runs for result in await run]
    assert all(isinstance(result.error, EngineError) for result in results)
    assert gate.inside == 0


def test_a_client_serves_one_running_loop_at_a_time() -> None:
    dria = Dria(nodes=[Node(ScriptedEngine(echo))])

    async def main() -> None:
        await dria.execute(dialogue())
        with pytest.raises(InvalidInputError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, dria.execute(dialogue()))
        await dria.execute(dialogue())

    asyncio.run(main())


async def test_a_failing_assertion_in_an_engine_does_not_hang_a_stream() -> None:
    def answer(request: GenerationRequest) -> str:
        pytest.fail("this was not to be asked")

    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria, asyncio.timeout(5):
        with pytest.raises(pytest.fail.Exception, match="not to be asked"):
            await dria.execute([dialogue()])


async def test_time_that_runs_out_ends_a_stream_whose_iterator_waits() -> None:
    async def tasks() -> AsyncIterator[Task]:
        yield dialogue()
        await asyncio.Event().wait()

    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria, asyncio.timeout(5):
        results = [result async for result in dria.stream(tasks(), timeout=0.1)]
    assert [result.error for result in results] == [None]


async def test_a_node_serves_one_client_at_a_time() -> None:
    node = Node(ScriptedEngine(echo))
    async with Dria(nodes=[node]) as first:
        await first.execute(dialogue())
        async with Dria(nodes=[node]) as second:
            with pytest.raises(InvalidInputError, match="another client"):
                await second.execute(dialogue())
        await first.execute(dialogue())
    async with Dria(nodes=[node]) as third:
        await third.execute(dialogue())


async def test_something_that_is_no_iterable_is_refused() -> None:
    async with Dria(nodes=[Node(ScriptedEngine(echo))]) as dria:
        with pytest.raises(InvalidInputError, match="iterable"):
            _ = [result async for result in dria.stream(5)]  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="timeout"):
            await dria.execute(dialogue(), timeout=10**400)


async def test_time_that_runs_out_while_nodes_start_says_so() -> None:
    class Loading(ScriptedEngine):
        async def start(self) -> None:
            await asyncio.Event().wait()

    async with Dria(nodes=[Node(Loading(echo))]) as dria:
        with pytest.raises(TaskTimeoutError, match=r"before the first call.*models pull"):
            await dria.execute(dialogue(), timeout=0.1)
