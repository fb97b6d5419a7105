from __future__ import annotations

import contextlib
import copy
import json
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dria_magpie.errors import DriaMagpieError, GraphError, StateError
from dria_magpie.models import Turn
from dria_magpie.workflow import ExecutionState, NextCall, Workflow, advance
from tests.builder import validate
from tests.unit.graphs import answers, drive, graphs, step, strip
from tests.unit.reference import ModelFailedError, Reference

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 3)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(["\ud800", "{{x}}", "__end", "write", "generation", "size", "Equal"])
)
json_values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def by_reference(graph, script, seed):
    asked = []

    def ask(messages):
        answer = script[len(asked) % len(script)]
        asked.append(messages)
        if answer is None:
            raise ModelFailedError
        return answer

    def draw(steps_done):
        return random.Random(f"{seed}:{steps_done}").choice

    return Reference(graph, ask, draw).run(), asked


@given(graphs(), answers, seeds)
@settings(calm, max_examples=3000)
def test_the_interpreter_does_what_the_reference_does(graph, script, seed):
    assert drive(Workflow.parse(graph), script, seed=seed) == by_reference(graph, script, seed)


@given(graphs(), answers, seeds)
@settings(calm, max_examples=150)
def test_a_state_read_back_at_every_step_gives_the_same_run(graph, script, seed):
    workflow = Workflow.parse(graph)
    whole = drive(workflow, script, seed=seed)
    assert drive(workflow, script, seed=seed, reload=True) == whole


@given(graphs(), answers, st.integers(0, 8))
@settings(calm, max_examples=150)
def test_advance_is_pure_and_changes_no_state(graph, script, length):
    workflow = Workflow.parse(graph)
    state, asked = ExecutionState.start(workflow), []
    for _ in range(length):
        before = copy.deepcopy(state.to_dict())
        first, second = advance(workflow, state), advance(workflow, state)
        assert repr(first) == repr(second)
        if isinstance(first, NextCall):
            answered = [one.state.with_output(workflow, "A").to_dict() for one in (first, second)]
            assert answered[0] == answered[1]
        following = step(workflow, state, script, asked)
        assert state.to_dict() == before
        if not isinstance(following, ExecutionState):
            break
        state = following


@given(graphs(), answers)
@settings(calm, max_examples=300)
def test_an_answer_with_its_turn_is_the_turn_on_record_and_then_its_text(graph, script):
    workflow = Workflow.parse(graph)
    state, asked = ExecutionState.start(workflow), []
    while isinstance(state, ExecutionState):
        outcome = advance(workflow, state)
        if isinstance(outcome, NextCall):
            text = script[len(asked) % len(script)] or ""
            turn = Turn(task_id=outcome.task_id, text=text, model="m", seconds=0.5)
            whole = outcome.state.with_answer(workflow, turn)
            parts = outcome.state.with_turn(turn).with_output(workflow, text)
            assert whole.to_dict() == parts.to_dict()
            assert whole.memory.written == parts.memory.written
        state = step(workflow, state, script, asked)


@given(graphs())
@settings(calm, max_examples=60)
def test_a_dump_is_valid_and_reads_back_equal(graph):
    workflow = Workflow.parse(graph)
    dump = workflow.model_dump()
    assert Workflow.parse(dump) == workflow
    assert Workflow.parse(json.loads(workflow.model_dump_json())) == workflow
    assert json.loads(workflow.model_dump_json()) == dump
    lists = {
        k: v for k, v in (graph.get("external_memory") or {}).items() if not isinstance(v, dict)
    }
    assert validate({**dump, "external_memory": lists})
    assert validate({**strip(graph), "external_memory": lists})


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


def run_safely(graph, script):
    try:
        workflow = Workflow.parse(graph)
    except GraphError:
        return
    workflow.model_dump_json()
    try:
        drive(workflow, script)
    except DriaMagpieError:
        raise AssertionError("a graph that was accepted does not run") from None


@given(json_values, answers)
@settings(calm, max_examples=100)
def test_arbitrary_json_is_a_workflow_or_a_graph_error(value, script):
    run_safely(value, script) if isinstance(value, dict) else None
    with contextlib.suppress(GraphError):
        Workflow.parse(value)


@given(graphs(), answers, st.data())
@settings(calm, max_examples=800)
def test_a_damaged_graph_runs_or_is_a_graph_error(graph, script, data):
    path = data.draw(st.sampled_from([p for p in places(graph) if p]))
    run_safely(changed(graph, path, data.draw(json_values)), script)


@given(json_values)
@settings(calm, max_examples=100)
def test_arbitrary_json_is_a_state_or_a_state_error(value):
    with contextlib.suppress(StateError):
        ExecutionState.from_dict(value)


@given(graphs(), answers, st.integers(0, 4), st.data())
@settings(calm, max_examples=600)
def test_a_damaged_state_runs_or_is_a_state_error(graph, script, length, data):
    workflow = Workflow.parse(graph)
    state, asked = ExecutionState.start(workflow), []
    for _ in range(length):
        following = step(workflow, state, script, asked)
        state = following if isinstance(following, ExecutionState) else state
    stored = state.to_dict()
    path = data.draw(st.sampled_from([p for p in places(stored) if p]))
    try:
        read = ExecutionState.from_dict(changed(stored, path, data.draw(json_values)))
        drive(workflow, script, state=read)
    except StateError:
        pass
