from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dria_magpie.errors import GraphError
from dria_magpie.factory import MagPie, SelfSynthesis
from dria_magpie.models import Sampling
from dria_magpie.workflow import ExecutionState, NextCall, Workflow, advance
from dria_magpie.workflow.shape import read_halves
from tests.unit.flow import READ_X, edge, graph, task
from tests.unit.graphs import graphs

WORKFLOW = MagPie().workflow("A scientist", "A cook", 2)
SHAPE, FILLING = WORKFLOW.shape, WORKFLOW.filling
TASKS = len(WORKFLOW.tasks)


def fill(**changes):
    return json.dumps({"external_memory": {}, "tasks": [{}] * TASKS, **changes})


@given(graphs())
def test_a_graph_is_the_same_after_it_was_written_in_two_halves(values):
    workflow = Workflow.parse(json.loads(json.dumps(values)))
    halves = workflow.shape, workflow.filling
    for _ in range(2):
        again = read_halves(*halves)
        assert again == workflow
        assert again.model_dump_json() == workflow.model_dump_json()
        assert (again.shape, again.filling) == halves
    for one in workflow.tasks:
        assert again.task(one.id) == workflow.task(one.id)
        assert again.size(one.id) == workflow.size(one.id)
    for step in workflow.steps:
        assert again.step_from(step.source) == workflow.step_from(step.source)


def test_graphs_of_one_shape_share_their_first_half_only():
    seeded = MagPie().workflow("A poet", "A baker", 2, instructor_sampling=Sampling(seed=7))
    shape, filling = seeded.shape, seeded.filling
    assert shape == SHAPE
    assert "poet" not in shape
    assert json.loads(filling)["tasks"] == [{"sampling": {"seed": 7}}, {}, {}]
    assert read_halves(SHAPE, FILLING) == WORKFLOW
    again = read_halves(shape, filling)
    assert again == seeded
    assert again.task("instructor").sampling == Sampling(seed=7)
    assert read_halves(SHAPE, FILLING).task("instructor").sampling is None


def test_other_models_are_another_shape():
    named = MagPie().workflow("A scientist", "A cook", 2, responder_model="m")
    assert named.shape != SHAPE
    assert named.task("responder").model == "m"
    assert SelfSynthesis().workflow(response_model="m").task("response").model == "m"


def test_what_a_shape_says_of_memory_and_sampling_counts_for_nothing():
    told = json.loads(SHAPE)
    told["external_memory"] = {"instructor_persona": "A liar"}
    told["tasks"][0]["sampling"] = {"temperature": 0.1}
    shape = json.dumps(told)
    for _ in range(2):
        assert read_halves(shape, FILLING) == WORKFLOW
        assert read_halves(shape, FILLING).task("instructor").sampling is None
        call = advance(WORKFLOW, ExecutionState.start(read_halves(shape, FILLING)))
        assert isinstance(call, NextCall)
        assert "A scientist" in call.request.messages[0].content


def test_a_shape_that_is_too_long_to_be_kept_is_read_all_the_same():
    workflow = Workflow.parse(
        graph(task("a", "x" * 40_000), steps=[edge("a")], return_value={"input": READ_X})
    )
    one, other = (read_halves(workflow.shape, workflow.filling) for _ in range(2))
    assert one == other == workflow
    assert one.steps is not other.steps


def test_a_shape_is_read_once():
    one, other = read_halves(SHAPE, FILLING), read_halves(SHAPE, fill())
    assert one.steps is other.steps
    assert one.external_memory != other.external_memory == {}


@pytest.mark.parametrize(
    ("filling", "told"),
    [
        (fill(tasks=[]), "0 tasks are filled"),
        (fill(tasks=[{}] * (TASKS + 1)), f"graph has {TASKS}"),
        (fill(external_memory={"a": 1}), "external_memory.a"),
        (fill(external_memory={"a": None}), "external_memory.a"),
        (fill(external_memory=None), "external_memory"),
        (fill(tasks=[{"sampling": {"temperature": -1}}] * TASKS), "temperature"),
        (fill(tasks=[{"sampling": 7}] * TASKS), "sampling"),
        ("[]", "dictionary"),
        ("{}", "external_memory"),
    ],
)
def test_what_fills_no_shape_is_told(filling, told):
    with pytest.raises(GraphError, match=told):
        read_halves(SHAPE, filling)


@pytest.mark.parametrize("text", ["", "{", '{"external_memory": {"a": "\\ud800"}}', "[1e999]"])
def test_halves_that_are_no_json_are_refused(text):
    with pytest.raises((GraphError, ValueError)):
        read_halves(SHAPE, text)
    with pytest.raises((GraphError, ValueError)):
        read_halves(text, FILLING)


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_a_copy_with_other_values_knows_its_own_shape(memory):
    workflow = Workflow.parse(graph(task("a"), task("b"), steps=[edge("a"), edge("b")]))
    assert workflow.task("b")
    assert workflow.shape
    fewer = workflow.model_copy(update={"tasks": workflow.tasks[:1], "external_memory": memory})
    assert fewer.task("b") is None
    assert read_halves(fewer.shape, fewer.filling) == fewer
    assert workflow.model_copy(update={"tasks": ()}).task("a") is None
