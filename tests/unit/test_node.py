from __future__ import annotations

import asyncio
import json

import pytest

from dria_magpie.errors import (
    DrainedError,
    EmptyCompletionError,
    EndpointError,
    EngineError,
    InvalidInputError,
    LimitError,
    ModelFileError,
    StateError,
    StepError,
)
from dria_magpie.models import Generation, NodeInfo, Sampling, Task, TaskResult
from dria_magpie.network.fit import Fit, describe
from dria_magpie.network.fit import decide_fit as fit
from dria_magpie.node import Node, TurnDone
from dria_magpie.testing import ScriptedEngine
from dria_magpie.workflow import ExecutionState, Workflow
from tests.unit.flow import ALL_X, PUSH_X, edge, graph, read, task, user

TALK = graph(
    task("a", messages=[user("Begin."), {"role": "history", "content": "{x}"}], outputs=[PUSH_X])
    | {"inputs": [read("x", "get_all")]},
    task("b", "{x}", inputs=[read("x", "get_all")], outputs=[PUSH_X]),
    task("c", "{x}", inputs=[read("x", "get_all")], outputs=[PUSH_X]),
    steps=[edge("a", "b"), edge("b", "c"), edge("c")],
    returned={"input": ALL_X, "to_json": True},
)


async def run(engine, values=TALK, state=None, **more):
    """Run a graph on a node; give the events before the result, and the result."""
    node = Node(engine, **more)
    given = Task(workflow=values, id="t", step_name="s")
    events = [e async for e in node.run(given, Workflow.parse(values), "scripted", state)]
    assert all(isinstance(event, TurnDone) for event in events[:-1])
    assert isinstance(events[-1], TaskResult)
    return events[:-1], events[-1]


async def test_a_run_tells_of_every_turn_and_then_gives_the_result():
    engine = ScriptedEngine(["one", "two", "three"])
    events, result = await run(engine, address="here")
    assert [event.turn.text for event in events] == ["one", "two", "three"]
    assert {event.task_id for event in events} == {"t"}
    assert result.result == '["one","two","three"]'
    assert result.error is None
    assert (result.id, result.step_name, result.node, result.model) == (
        "t",
        "s",
        "here",
        "scripted",
    )
    assert result.turns == events[-1].state.turns
    assert result.seconds == events[-1].state.seconds > 0


async def test_a_turn_says_how_it_came_about():
    answer = Generation(
        text=" hi\n",
        reasoning="hm",
        finish_reason="length",
        model="real",
        prompt_tokens=5,
        cached_tokens=4,
        completion_tokens=3,
        attempts=2,
    )
    values = graph(task("a", sampling={"seed": 9}))
    _, result = await run(ScriptedEngine([answer]), values)
    turn = result.turns[0]
    assert (turn.task_id, turn.text, turn.reasoning, turn.model) == ("a", " hi\n", "hm", "real")
    assert (turn.prompt_tokens, turn.cached_tokens, turn.completion_tokens) == (5, 4, 3)
    assert (turn.finish_reason, turn.attempts, turn.seed) == ("length", 2, 9)
    assert result.result == " hi\n"
    assert result.truncated == (0,)


async def test_a_failed_call_takes_the_fallback():
    values = graph(task("a"), task("b"), steps=[edge("a", fallback="b"), edge("b")])
    events, result = await run(ScriptedEngine([EndpointError("down", 503), "fine"]), values)
    assert (len(events), result.result) == (1, "fine")
    assert result.seconds > result.turns[0].seconds


async def test_an_engine_error_without_a_fallback_is_the_results_error_with_the_turns_so_far():
    error = EndpointError("down", 503)
    events, result = await run(ScriptedEngine(["one", "two", error]))
    assert len(events) == len(result.turns) == 2
    assert result.error is error
    assert result.result is None


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("boom"), RecursionError()])
async def test_a_defect_of_an_engine_costs_one_run(error):
    _, result = await run(ScriptedEngine([error]))
    assert type(result.error) is EngineError
    assert result.error.__cause__ is error
    assert "engine at scripted failed" in str(result.error)


@pytest.mark.parametrize("answer", [None, Generation(text=None)])
async def test_an_engine_that_gives_no_text_costs_one_run(answer):
    class Broken(ScriptedEngine):
        async def generate(self, request):
            return answer

    _, result = await run(Broken([]))
    assert type(result.error) is EngineError


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_an_answer_of_nothing_is_an_error(text):
    _, result = await run(ScriptedEngine([text]))
    assert isinstance(result.error, EmptyCompletionError)


async def test_cancelling_ends_the_call_and_the_run():
    began, ended = asyncio.Event(), asyncio.Event()

    async def answer(request):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(run(ScriptedEngine(answer)))
    await asyncio.wait_for(began.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_run_goes_on_from_a_state_and_repeats_no_call(turns):
    whole = ScriptedEngine(["one", "two", "three"])
    events, expected = await run(whole)
    state = ExecutionState.start(Workflow.parse(TALK)) if not turns else events[turns - 1].state
    state = ExecutionState.from_dict(json.loads(json.dumps(state.to_dict())))
    rest = ScriptedEngine(["one", "two", "three"][turns:])
    more, result = await run(rest, state=state)
    assert rest.calls == len(more) == 3 - turns
    assert list(rest.requests) == list(whole.requests)[turns:]
    assert (result.result, [t.text for t in result.turns]) == (
        expected.result,
        ["one", "two", "three"],
    )


async def test_time_is_summed_over_resumed_runs():
    state = ExecutionState.start(Workflow.parse(TALK)).evolve(seconds=99.5)
    _, result = await run(ScriptedEngine(["one", "two", "three"]), state=state)
    assert result.seconds > 99.5
    _, result = await run(ScriptedEngine([]), state=state.evolve(seconds=100.0))
    assert isinstance(result.error, LimitError)


async def test_a_state_of_another_workflow_is_the_results_error():
    state = ExecutionState.start(Workflow.parse(TALK)).evolve(step=9)
    _, result = await run(ScriptedEngine([]), state=state)
    assert isinstance(result.error, StateError)


async def test_a_drained_node_keeps_the_call_under_way_and_begins_no_other():
    node = None

    def answer(request):
        node.drain()
        return "one"

    engine = ScriptedEngine(answer)
    node = Node(engine)
    await node.start()
    workflow = Workflow.parse(TALK)
    for _ in range(2):
        turn, result = [e async for e in node.run(Task(workflow=TALK), workflow, "scripted")]
        assert turn.turn.text == "one"
        assert isinstance(result.error, DrainedError)
        assert result.turns == turn.state.turns
        assert result.seconds == turn.state.seconds
        await node.aclose()
        await node.start()
    assert engine.calls == 2


async def test_a_drained_node_takes_no_fallback():
    values = graph(
        task("a", outputs=[PUSH_X]),
        task("b", outputs=[PUSH_X]),
        task("end", operator="end"),
        steps=[edge("a", "b"), edge("b", fallback="end"), edge("end")],
        returned={"input": ALL_X, "to_json": True},
    )
    node = Node(ScriptedEngine(lambda request: node.drain() or "one"))
    [_, result] = [
        e async for e in node.run(Task(workflow=values), Workflow.parse(values), "scripted")
    ]
    assert result.result is None
    assert isinstance(result.error, DrainedError)


async def test_draining_reaches_every_engine():
    engines = [ScriptedEngine(["x"], models=[name]) for name in "ab"]
    node = Node(engines)
    node.drain()
    node.drain()
    for engine in engines:
        with pytest.raises(DrainedError):
            await engine.generate(None)


SCHEMA = graph(task("a", schema={"type": "object"}))


@pytest.mark.parametrize("text", ['{"a": 1}', " [1]\n", "5"])
async def test_an_answer_to_a_schema_stays_verbatim(text):
    _, result = await run(ScriptedEngine([text]), SCHEMA)
    assert result.result == text


@pytest.mark.parametrize("text", ["Sure!", '{"a": ', "[" * 100_000], ids=["text", "cut", "deep"])
async def test_an_answer_to_a_schema_that_is_no_json_fails_the_task_but_is_on_record(text):
    events, result = await run(ScriptedEngine([text]), SCHEMA)
    assert len(events) == len(result.turns) == 1
    assert isinstance(result.error, StepError)
    assert "support response_format" in str(result.error)


async def test_an_answer_to_a_schema_that_was_cut_off_says_so():
    answer = Generation(text='{"a": ', finish_reason="length")
    _, result = await run(ScriptedEngine([answer]), SCHEMA)
    assert "raise max_tokens" in str(result.error)


async def test_sampling_is_the_tasks_with_the_graphs_cap_and_a_seed_for_each_step():
    a = task("a", sampling={"temperature": 0.1, "seed": 5})
    b = task("b", sampling={"seed": 5, "max_tokens": 3})
    engine = ScriptedEngine(lambda request: "x")
    await run(engine, graph(a, b, steps=[edge("a", "b"), edge("b")], max_tokens=77))
    assert [request.sampling for request in engine.requests] == [
        Sampling(temperature=0.1, seed=5, max_tokens=77),
        Sampling(seed=6, max_tokens=3),
    ]


async def test_each_task_is_answered_by_the_engine_that_serves_its_model():
    small = ScriptedEngine(lambda request: f"small:{request.model}", models=["small"])
    large = ScriptedEngine(lambda request: f"large:{request.model}", models=["large"])
    anything = ScriptedEngine(lambda request: f"any:{request.model}", models=["*"])
    tasks = [task(name, model=name, outputs=[PUSH_X]) for name in ("large", "small", "other")]
    steps = [edge("large", "small"), edge("small", "other"), edge("other")]
    values = graph(*tasks, steps=steps, returned={"input": ALL_X, "to_json": True})
    _, result = await run([small, anything, large], values)
    assert result.result == '["large:large","small:small","any:other"]'
    assert result.model == "large, small, other"


async def test_a_model_that_no_engine_serves_is_an_error():
    _, result = await run(ScriptedEngine(["x"]), graph(task("a", model="other")))
    assert "serves 'other'" in str(result.error)


async def test_a_graph_that_loops_without_a_model_lets_others_run():
    values = graph(task("a", operator="end"), steps=[edge("a", "a")], max_steps=10**9)
    running = asyncio.create_task(run(ScriptedEngine([]), values))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_graph_without_a_generation_needs_no_model():
    _, result = await run(ScriptedEngine([]), graph(steps=[], memory={"x": "X"}))
    assert (result.result, result.model, result.turns) == ("X", "", ())
    assert result.task_input == {"x": "X"}


class Starting(ScriptedEngine):
    def __init__(self, log, name, *, fails=False):
        super().__init__([], models=[name, "shared"], slots=3 if name == "a" else 5)
        self.log, self.name, self.fails = log, name, fails

    async def start(self):
        self.log.append(f"start {self.name}")
        if self.fails:
            raise ModelFileError("no weights")

    async def aclose(self):
        self.log.append(f"close {self.name}")


async def test_starting_and_closing_reach_every_engine():
    log = []
    node = Node([Starting(log, "a"), Starting(log, "b")])
    await node.start()
    await node.aclose()
    assert log == ["start a", "start b", "close a", "close b"]


async def test_if_one_engine_cannot_start_none_runs():
    log = []
    node = Node([Starting(log, "a"), Starting(log, "b", fails=True), Starting(log, "c")])
    with pytest.raises(ModelFileError):
        await node.start()
    assert log == ["start a", "start b", "close a", "close b", "close c"]


def test_a_node_tells_what_it_serves():
    engines = [Starting([], "a"), Starting([], "b")]
    assert Node(engines).info == NodeInfo(address="local", models=("a", "shared", "b"), slots=5)
    assert Node(engines, slots=2, address="x").info.slots == 2
    assert Node(engines).engines == "scripted, scripted"


@pytest.mark.parametrize(("engines", "slots"), [([], None), (ScriptedEngine([]), 0)])
def test_a_node_needs_an_engine_and_a_slot(engines, slots):
    with pytest.raises(InvalidInputError):
        Node(engines, slots=slots)


ANY = NodeInfo(address="n", models=("*",), slots=1)
TWO = NodeInfo(address="n", models=("m", "k"), slots=1)


@pytest.mark.parametrize(
    ("node", "wanted", "named", "decision"),
    [
        (TWO, [], [None], Fit(model="m")),
        (TWO, ["x", "k"], [None], Fit(model="k")),
        (TWO, ["x", "y"], [None], Fit(reason="does not serve 'x' or 'y'")),
        (TWO, ["x"], ["k"], Fit()),
        (TWO, [], ["k", None], Fit(model="m")),
        (TWO, [], ["k", ""], Fit(model="m")),
        (TWO, ["m"], ["z", None], Fit(reason="does not serve 'z', which the workflow names")),
        (TWO, ["x"], [], Fit()),
        (NodeInfo(address="n", models=("*", "m"), slots=1), [], [None], Fit(model="m")),
        (NodeInfo(address="n", models=("q:latest",), slots=1), ["q"], [None], Fit("q:latest")),
        (ANY, ["x", "y"], [None], Fit(model="x")),
        (ANY, [], ["x"], Fit()),
        (ANY, [], [None], Fit(reason="needs a name: say --model NAME, or Task(models=[NAME])")),
    ],
)
def test_a_node_fits_if_it_serves_every_model_that_is_needed(node, wanted, named, decision):
    tasks = [task(str(i), model=name) for i, name in enumerate(named)]
    workflow = Workflow.parse(graph(*tasks, task("end", operator="end", model="never")))
    assert fit(node, Task(workflow=workflow, models=wanted), workflow) == decision


def test_a_node_is_described_for_people():
    assert describe(ANY, "here") == "n (here) serves any model:"
    assert describe(TWO, "here") == "n (here) serves m, k:"
    assert describe(NodeInfo(address="n", models=(), slots=1), "x") == "n (x) serves no model:"


async def test_a_graph_that_turns_in_circles_without_a_model_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dria_magpie.node.execution.MOST_MOVES", 50)
    graph = {
        "config": {"max_steps": 4_000_000_000, "max_time": 10},
        "tasks": [{"id": "a", "operator": "end"}],
        "steps": [{"source": "a", "target": "a"}],
        "return_value": {"input": {"type": "string", "key": "x"}},
    }
    engine = ScriptedEngine(["never asked"])
    workflow = Workflow.parse(graph)
    [result] = [event async for event in Node(engine).run(Task(workflow=graph), workflow, "m")]
    assert isinstance(result, TaskResult)
    assert isinstance(result.error, LimitError)
    assert "50 steps without a generation" in str(result.error)
