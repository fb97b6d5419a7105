from __future__ import annotations

import importlib
import random
import sys
import time
from contextlib import contextmanager
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dria_magpie import MagPie
from dria_magpie.errors import EngineError, StateError, StepError
from dria_magpie.models import Turn
from dria_magpie.workflow import (
    ExecutionState,
    Failed,
    Finished,
    Moved,
    NextCall,
    Workflow,
    advance,
    conclude,
    replay,
    take_answer,
)
from dria_magpie.workflow.interpreter import foresee
from dria_magpie.workflow.replay import find_end, retrace
from tests.unit.flow import edge, graph, read, task, user, when
from tests.unit.graphs import answers, graphs

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 3)
# What a run took for calls that failed: turns do not tell.
spent = st.lists(st.sampled_from([0.0, 0.1, 0.7, 30.0]), min_size=1, max_size=4)


def dump(state, *, seconds=True):
    return {**state.to_dict(), **({} if seconds else {"seconds": None})}


def enliven(values, seed):
    """Give a random graph with schemas, and in most cases with more calls and fallbacks."""
    draw = random.Random(seed)
    tasks = [{**t, **draw.choice([{}, {}, {"schema": {}}])} for t in values["tasks"]]
    steps = values["steps"]
    if draw.random() < 0.7:
        asking = {"operator": "generation", "messages": [user("Say it.")]}
        tasks = [{**t, **draw.choice([{}, asking, asking])} for t in tasks]
        others = [{}, *[{"target": name} for name in "abc"]]
        saved = [{}, *[{"fallback": name} for name in "abc"]]
        steps = [{**s, **draw.choice(others), **draw.choice(saved)} for s in steps]
    return Workflow.parse({**values, "tasks": tasks, "steps": steps})


def say(task_id, text="A.", seconds=1.0):
    return Turn(task_id=task_id, text=text, model="m", seconds=seconds)


def live(workflow, script, times, seed):
    """Run as a node does; give the states after each turn, and how it ended."""
    state, after, calls, failures = ExecutionState.start(workflow, seed=seed), [], 0, 0
    after.append(state)
    for _ in range(50):
        match advance(workflow, state):
            case NextCall() as call:
                text, seconds = script[calls % len(script)], times[calls % len(times)]
                calls += 1
                if text is None:
                    failures += 1
                    failed = call.state.evolve(seconds=call.state.seconds + seconds)
                    state = failed.with_failure(workflow, EngineError("the model failed"))
                else:
                    state = take_answer(workflow, call, say(call.task_id, text, seconds))
                    after.append(state)
            case Moved(state):
                pass
            case end:
                return after, end, failures
    raise AssertionError("the graphs have at most eight steps")


@given(graphs(), answers, spent, seeds)
@settings(calm, max_examples=700)
def test_the_state_after_each_turn_of_a_run_is_among_the_replayed_ones(values, script, times, seed):
    workflow = enliven(values, seed)
    after, end, _ = live(workflow, script, times, seed)
    for state in after:
        replayed = list(replay(workflow, state.turns, seed=seed))
        assert dump(state, seconds=False) in [dump(one, seconds=False) for one in replayed]
        assert all(one.seconds <= state.seconds for one in replayed)
    if isinstance(end, Finished):
        states = replay(workflow, after[-1].turns, seed=seed)
        assert end in (conclude(workflow, one) for one in states)


@given(graphs(), answers, spent, seeds)
@settings(calm, max_examples=500)
def test_a_run_without_failures_is_the_first_explanation(values, script, times, seed):
    workflow = enliven(values, seed)
    script = [text or "" for text in script]
    after, end, _ = live(workflow, script, times, seed)
    for count, state in enumerate(after):
        way = next(retrace(workflow, state.turns, seed=seed))
        assert [dump(one) for one in way] == [dump(one) for one in after[: count + 1]]
    assert repr(find_end(workflow, after[-1])) == repr(end)
    assert repr(conclude(workflow, after[-1])) == repr(end)


def explain(workflow, state, turns):
    """Give all explanations by plain recursion."""
    if not turns:
        return [dump(state)]
    outcome = advance(workflow, state)
    if isinstance(outcome, Moved):
        return explain(workflow, outcome.state, turns)
    if not isinstance(outcome, NextCall):
        return []
    found = []
    if turns[0].task_id == outcome.task_id:
        found += explain(workflow, take_answer(workflow, outcome, turns[0]), turns[1:])
    if outcome.state.current_step(workflow).fallback is not None:
        failed = outcome.state.with_failure(workflow, EngineError("the model failed"))
        found += explain(workflow, failed, turns)
    return found


@st.composite
def changes(draw):
    """Give a way to change turns: drop, double, swap, rename, or make them up."""
    kind = draw(st.sampled_from(["drop", "double", "swap", "rename", "make up"]))
    place, name = draw(st.integers(0, 8)), draw(st.sampled_from(["a", "b", "c", "zz", ""]))

    def change(turns):
        at = place % (len(turns) or 1)
        match kind:
            case "drop":
                return turns[:at] + turns[at + 1 :]
            case "double":
                return turns[: at + 1] + turns[at : at + 1] + turns[at + 1 :]
            case "swap":
                return turns[:at] + turns[at : at + 2][::-1] + turns[at + 2 :]
            case "rename":
                return (*turns[:at], say(name, "42"), *turns[at + 1 :])
        return (*turns, *[say(name, "{")] * place)

    return change


@given(graphs(), answers, spent, seeds, changes())
@settings(calm, max_examples=700)
def test_changed_turns_are_refused_or_another_run_of_the_graph(values, script, times, seed, change):
    workflow = enliven(values, seed)
    turns = change(live(workflow, script, times, seed)[0][-1].turns)
    start = ExecutionState.start(workflow, seed=seed)
    replayed = [dump(state) for state in replay(workflow, turns, seed=seed)]
    assert replayed == explain(workflow, start, turns)
    assert all(len(state["turns"]) == len(turns) for state in replayed)


@given(graphs(), answers, spent, seeds, changes(), st.integers(0, 120), st.integers(0, 6))
@settings(calm, max_examples=500)
def test_a_prompt_that_may_be_too_large_is_written_to_find_out(
    values, script, times, seed, change, longest, most
):
    workflow = enliven(values, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dria_magpie.workflow.render.LONGEST", longest)
        patch.setattr("dria_magpie.workflow.render.MOST_MESSAGES", most)
        turns = change(live(workflow, script, times, seed)[0][-1].turns)
        replayed = [dump(state) for state in replay(workflow, turns, seed=seed)]
        start = ExecutionState.start(workflow, seed=seed)
        assert replayed == explain(workflow, start, turns)


def parse(*parts, **more):
    return Workflow.parse(graph(*parts, **more))


@pytest.mark.parametrize("num_turns", [1, 2, 5])
def test_a_dialogue_is_replayed_to_its_end_and_no_further(num_turns):
    workflow = MagPie().workflow("A scientist", "An assistant", num_turns=num_turns)
    after, end, _ = live(workflow, ["How?", "Thus."], [0.5], 7)
    turns = after[-1].turns
    [state] = replay(workflow, turns, seed=7)
    assert dump(state) == dump(after[-1])
    assert find_end(workflow, state) == conclude(workflow, state) == end
    assert isinstance(end, Finished)
    assert not list(replay(workflow, (*turns, turns[0]), seed=7))
    assert not list(replay(workflow, turns[1:], seed=7))
    assert not list(replay(workflow, turns[::-1], seed=7))


def test_a_failed_call_is_assumed_only_where_the_turns_need_one():
    steps = [edge("a", "b", fallback="c"), edge("b"), edge("c", "b")]
    workflow = parse(task("a"), task("b"), task("c"), steps=steps)
    [plain] = replay(workflow, [say("a"), say("b")])
    assert (plain.steps_done, plain.step) == (2, None)
    [failed] = replay(workflow, [say("c"), say("b")])
    assert (failed.steps_done, failed.seconds) == (3, 2.0)
    assert not list(replay(workflow, [say("a"), say("c")]))


def test_without_turns_there_is_the_start():
    workflow = parse(task("a"), steps=[edge("a", "a", fallback="a")])
    assert list(replay(workflow, [], seed=3)) == [ExecutionState.start(workflow, seed=3)]
    assert find_end(workflow, ExecutionState.start(workflow)) is None


def test_explanations_are_made_one_at_a_time(monkeypatch):
    asked = []

    def counted(workflow, state, *bounds):
        asked.append(state)
        return foresee(workflow, state, *bounds)

    monkeypatch.setattr(importlib.import_module("dria_magpie.workflow.replay"), "foresee", counted)
    workflow = parse(task("a"), steps=[edge("a", "a", fallback="a")], max_steps=100)
    states = replay(workflow, [say("a")] * 4)
    assert not asked
    assert next(states).steps_done == len(asked) == 4
    assert [state.steps_done for state in islice(states, 3)] == [5, 6, 7]
    assert len(asked) == 7


def test_an_answer_against_the_schema_is_a_failure_that_left_a_turn():
    workflow = parse(task("a", schema={}), task("b"), steps=[edge("a", fallback="b"), edge("b")])
    turns = [say("a", "no JSON"), say("b")]
    [state] = replay(workflow, turns)
    assert (state.steps_done, state.memory.cache["x"]) == (2, "A.")
    assert not list(replay(workflow, [say("a", "{}"), say("b")]))
    [alone] = replay(parse(task("a", schema={})), turns[:1])
    assert isinstance(alone.error, StepError)
    assert find_end(workflow, alone) == conclude(workflow, alone) == Failed(alone.error)


def test_a_run_whose_last_call_failed_has_its_end_too():
    steps = [edge("a", "b"), edge("b", fallback="__end")]
    workflow = parse(task("a"), task("b"), steps=steps)
    [state] = replay(workflow, [say("a", "Yes.")])
    assert find_end(workflow, state) is None
    assert conclude(workflow, state) == Finished("Yes.")
    assert conclude(parse(task("a")), ExecutionState.start(workflow)) is None


def test_a_limit_is_found_by_the_seconds_of_the_turns():
    workflow = parse(task("a"), steps=[edge("a", "a")], max_time=2)
    assert list(replay(workflow, [say("a", seconds=0.9)] * 3))
    assert not list(replay(workflow, [say("a", seconds=1.0)] * 3))
    assert not list(replay(parse(task("a"), steps=[edge("a", "a")], max_steps=2), [say("a")] * 3))


def test_a_state_of_another_workflow_has_failed():
    outcome = find_end(parse(task("a")), ExecutionState.start(parse(task("a"))).evolve(step=9))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, StateError)


def endless(*parts, **more):
    """Give a graph whose last task goes on with itself, whether it failed or not."""
    last = parts[-1]["id"]
    return parse(*parts, steps=[edge(last, last, fallback=last)], max_steps=4_000_000_000, **more)


def like(expected):
    kept = [{"type": "insert", "key": "x", "value": "__result"}]
    condition = when("HaveSimilar", expected, "a")
    steps = [edge("a", "a", fallback="a", condition=condition)]
    return parse(task("a", outputs=kept), steps=steps, max_steps=4_000_000_000)


SELF = endless(task("a"))
SHORT = parse(task("a"), steps=[edge("a", "a", fallback="a")], max_steps=60)
LADDER = parse(
    *[task(f"a{i}") for i in range(60)],
    steps=[edge(f"a{i}", f"a{(i + 1) % 60}", fallback=f"a{(i + 1) % 60}") for i in range(60)],
    max_steps=4_000_000_000,
)
MODEL_FREE = endless(task("a", operator="end"), max_time=1)
NAMES_LIST = [read("one", "string", "k"), read("two", "string", "k")]
PUSH_K = {"type": "push", "key": "k", "value": "__result"}
GROWING = endless(
    task("a", operator="sample", inputs=NAMES_LIST, outputs=[PUSH_K]),
    memory={"k": ["x" * 4_000_000]},
)
LOOKING = endless(
    task("a", "{" * 300_000, operator="sample", inputs=[read(f"n{i}") for i in range(500)])
)
PUSHING = endless(
    task("a", operator="sample", outputs=[{**PUSH_K, "key": str(i % 2)} for i in range(300)])
)
HISTORIES = [{"role": "history", "content": "{{x}}"}] * 3
MANY = endless(
    task("a", operator="sample", messages=HISTORIES, inputs=[read("x", "get_all")]),
    memory={"x": [""] * 90_000},
)

FILLED = endless(
    task("a", "{{p}}" * 4_000, inputs=[read("p", "read", "p")]), memory={"p": "x" * 3_900}
)
JSON = endless(task("a", schema={}, outputs=[]))


@contextmanager
def within(seconds):
    """Check that it takes no longer, on one core; tracing for coverage slows Python down."""
    started = time.process_time()
    yield
    assert time.process_time() - started < seconds * (1 if sys.gettrace() is None else 10)


@pytest.mark.parametrize(
    ("workflow", "turns"),
    [
        (SELF, [say("a")] * 30),
        (SELF, [say("a")] * 30 + [say("z")]),
        (SELF, [say("a")] * 12_000),
        (SHORT, [say("a")] * 30),
        (SHORT, [say("a")] * 30 + [say("z")]),
        (LADDER, [say("a7")] * 30),
        (LADDER, [say(f"a{i % 60}") for i in range(0, 900, 7)]),
        (LADDER, [say("z")]),
        (MODEL_FREE, [say("a")]),
    ],
    ids=range(9),
)
def test_more_explanations_than_can_be_counted_end_within_a_second(workflow, turns):
    with within(1):
        assert sum(1 for _ in replay(workflow, turns)) <= 256


@pytest.mark.parametrize(
    ("workflow", "task_id", "text", "count"),
    [
        (GROWING, "z", "", 1),
        (LOOKING, "z", "", 1),
        (PUSHING, "z", "", 1),
        (MANY, "z", "", 1),
        (like("Hello"), "a", "word " * 1000, 300),
        (like("Hello"), "a", "word " * 2_000_000, 3),
        (like("".join(map(chr, range(30_000, 20_000, -1)))), "a", "word " * 1000, 300),
        (SELF, "a", "x" * 20_000_000, 9),
        (FILLED, "a", "word", 30),
        (FILLED, "z", "word", 1),
        (JSON, "a", "[" * 10_000_000, 300),
        (JSON, "a", "1" * 10_000_000, 300),
        (JSON, "a", f"[{'[],' * 2_000_000}0]", 300),
        (JSON, "a", f"[{'[],' * 2_000}0]", 300),
    ],
    ids=range(14),
)
def test_large_texts_and_lists_end_a_replay_sooner(workflow, task_id, text, count):
    with within(4):
        assert sum(1 for _ in replay(workflow, [say(task_id, text)] * count)) <= 256


@pytest.mark.parametrize(
    "workflow", [MODEL_FREE, GROWING, LOOKING, PUSHING, MANY, SELF, LADDER], ids=range(7)
)
def test_an_end_that_does_not_come_is_not_waited_for(workflow):
    with within(6):
        assert conclude(workflow, ExecutionState.start(workflow)) is None
        assert find_end(workflow, ExecutionState.start(workflow)) is None


@pytest.mark.parametrize("seed", [-1, 2**53, 10**5000], ids=["less", "more", "much more"])
def test_a_seed_that_no_state_has_explains_nothing(seed):
    assert not list(replay(SHORT, [say("a")], seed=seed))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_time_that_no_turn_has_explains_nothing(seconds):
    assert not list(replay(SHORT, [say("a", seconds=seconds)]))


@given(graphs(), seeds, st.lists(st.sampled_from("aabbccz"), max_size=40))
@settings(calm, max_examples=60)
def test_any_turns_end_in_states_or_in_nothing(values, seed, names):
    values["config"]["max_steps"] = 4_000_000_000
    workflow = enliven(values, seed)
    for state in islice(replay(workflow, [say(name) for name in names], seed=seed), 5):
        assert len(state.turns) == len(names)
        find_end(workflow, state)
