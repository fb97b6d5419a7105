from __future__ import annotations

import copy
import json
from enum import StrEnum

import pydantic
import pytest
from hypothesis import given

from dria_magpie.errors import GraphError
from dria_magpie.factory import MagPie
from dria_magpie.models import Sampling
from dria_magpie.workflow import Workflow
from tests.builder import validate
from tests.unit.flow import READ_X, edge, graph, read, task, user, when
from tests.unit.graphs import graphs

PLAIN = graph(task("a"))
FULL = graph(
    task("a", inputs=[read("y", "peek", index=1)], schema={"type": "object", "default": None}),
    task("b", operator="end"),
    steps=[edge("a", "b", condition=when("Equal", "1"), fallback="b"), edge("b")],
    returned={"input": [READ_X], "to_json": True, "post_process": [{"process_type": "trim"}]},
    memory={"y": ["one", {"deep": None}], "z": "two"},
    tools=["ALL"],
    custom_tools=[{"name": "t", "description": "d", "mode": "custom", "parameters": {}}],
    max_tokens=9,
)
NULLS = {
    "config": {
        "max_steps": 2,
        "max_time": 3,
        "tools": None,
        "custom_tools": None,
        "max_tokens": None,
    },
    "external_memory": None,
    "tasks": [
        {
            "id": "a",
            "name": None,
            "description": None,
            "operator": "generation",
            "messages": [{"role": "user", "content": None}],
            "inputs": None,
            "outputs": None,
            "schema": None,
        },
        {"id": "_end", "operator": "end"},
    ],
    "steps": [{"source": "a", "target": "_end", "condition": None, "fallback": None}],
    "return_value": {
        "input": {"type": "read", "key": "x", "index": None, "search_query": None},
        "to_json": None,
        "post_process": None,
    },
    "name": "unknown fields are passed over",
}


def without(values, *path):
    values = copy.deepcopy(values)
    place = values
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return values


def put(values, new, *path):
    values = copy.deepcopy(values)
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return values


@pytest.mark.parametrize("values", [PLAIN, FULL, NULLS], ids=["plain", "full", "nulls"])
def test_a_graph_dumps_to_what_it_was_read_from_and_the_validator_takes_it(values):
    workflow = Workflow.parse(values)
    dump = workflow.model_dump()
    assert Workflow.parse(dump) == workflow == Workflow.parse(json.loads(json.dumps(dump)))
    assert json.loads(workflow.model_dump_json()) == dump
    assert validate(dump)


def test_nulls_inside_values_of_ones_own_are_kept():
    workflow = Workflow.parse(FULL)
    assert workflow.model_dump()["tasks"][0]["schema"] == {"type": "object", "default": None}
    assert workflow.model_dump()["external_memory"]["y"] == ["one", {"deep": None}]


def test_a_workflow_is_parsed_as_it_is():
    workflow = Workflow.parse(PLAIN)
    assert Workflow.parse(workflow) is workflow


def test_what_has_model_dump_is_a_workflow_too():
    class Own(pydantic.BaseModel):
        config: dict = PLAIN["config"]
        tasks: list = PLAIN["tasks"]
        steps: list = PLAIN["steps"]
        return_value: dict = PLAIN["return_value"]

    assert Workflow.parse(Own()) == Workflow.parse(PLAIN)


def test_a_dump_that_fails_is_a_graph_error():
    with pytest.raises(GraphError, match="cannot be dumped"):
        Workflow.parse(Workflow)


@pytest.mark.parametrize(
    ("messages", "prompt", "read_as"),
    [
        (..., "Hi", ["Hi"]),
        (None, "Hi", ["Hi"]),
        ([], "Hi", ["Hi"]),
        (..., None, []),
        (..., ..., []),
        ([user("Ho")], "Hi", ["Ho"]),
    ],
)
def test_a_prompt_stands_for_one_user_message(messages, prompt, read_as):
    given = {"messages": messages, "prompt": prompt}
    values = {"id": "a", "operator": "generation"}
    values |= {name: value for name, value in given.items() if value is not ...}
    parsed = Workflow.parse(graph(values)).tasks[0]
    assert [(m.role, m.content) for m in parsed.messages] == [("user", text) for text in read_as]


def test_the_first_of_several_with_one_name_counts():
    workflow = Workflow.parse(
        graph(task("a", "one"), task("a", "two"), steps=[edge("b"), edge("a", "x"), edge("a", "y")])
    )
    assert workflow.task("a").messages[0].content == "one"
    assert workflow.step_from("a") == 1
    assert workflow.task("z") is workflow.step_from("z") is workflow.step_from(None) is None


@pytest.mark.parametrize("bad", [None, [], "{}", 5, {}], ids=repr)
def test_what_is_no_object_with_the_fields_is_a_graph_error(bad):
    with pytest.raises(GraphError):
        Workflow.parse(bad)


@pytest.mark.parametrize("path", ["config", "config max_steps", "config max_time", "return_value"])
def test_a_missing_field_is_a_graph_error_that_names_it(path):
    with pytest.raises(GraphError, match=path.replace(" ", r"\.")):
        Workflow.parse(without(PLAIN, *path.split()))


K = ("external_memory", "k")
TASK = ("tasks", 0)
BAD_INPUT = {"name": "x", "value": {"type": "find", "key": "k"}}
BAD = {
    "negative steps": (-1, "config", "max_steps"),
    "half a second": (1.5, "config", "max_time"),
    "infinite time": (float("inf"), "config", "max_time"),
    "negative tokens": (-1, "config", "max_tokens"),
    "the operator check": ("check", *TASK, "operator"),
    "messages that are no list": (5, *TASK, "messages"),
    "a task that is null": ([None], "tasks"),
    "a message without role": ([{"content": "x"}], *TASK, "messages"),
    "an unknown input": ([BAD_INPUT], *TASK, "inputs"),
    "a number in memory": (5, *K),
    "a list of numbers": ([5], *K),
    "a list of lists": ([["x"]], *K),
    "half a character": ("\ud800", *K),
    "half a character as key": ("x", "external_memory", "\ud800"),
    "not a number": ({"a": float("nan")}, *K),
    "an endless number": ({"a": 10**5000}, *K),
    "a set": ({"a": {1, 2}}, *K),
    "a class": ({"a": int}, *K),
    "a key that is no text": ({"a": {5: "x"}}, *K),
    "misspelt sampling": ({"temprature": 1}, *TASK, "sampling"),
    "sampling with a number as name": ({5: 1}, *TASK, "sampling"),
    "bad sampling": ({"seed": "x"}, *TASK, "sampling"),
    "a schema that is a set": ({5}, *TASK, "schema"),
    "an open turn that is filled": (True, *TASK, "open_user_turn"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_workflow_is_a_graph_error(name):
    new, *path = BAD[name]
    with pytest.raises(GraphError):
        Workflow.parse(put(PLAIN, new, *path))


def test_the_error_names_the_fields_but_not_without_end():
    with pytest.raises(GraphError) as caught:
        Workflow.parse(graph(*[{"id": "a", "operator": "check"}] * 20))
    assert "tasks.0.operator" in str(caught.value)
    assert str(caught.value).endswith("and 12 more")


@pytest.mark.parametrize("depth", [200, 200_000])
@pytest.mark.parametrize("place", ["schema", "sampling", "inputs", "id"])
def test_a_graph_that_is_nested_too_deep_is_a_graph_error(place, depth):
    deep = {}
    for _ in range(depth):
        deep = {"a": deep}
    with pytest.raises(GraphError, match="nested deeper"):
        Workflow.parse(graph(task("a", **{place: deep})))


def test_a_graph_that_holds_itself_is_a_graph_error():
    wheel = {}
    wheel["wheel"] = wheel
    with pytest.raises(GraphError, match="nested deeper"):
        Workflow.parse(put(PLAIN, wheel, "external_memory", "k"))


def test_a_whole_number_may_be_written_with_a_point():
    workflow = Workflow.parse(graph(task("a"), max_steps=5.0, max_time=1e20, max_tokens=2.0))
    assert (workflow.config.max_steps, workflow.config.max_time) == (5, 10**20)
    assert validate(workflow.model_dump())


def test_numbers_where_texts_belong_are_read_as_texts():
    workflow = Workflow.parse(graph(task("a"), steps=[edge("a", condition=when("Equal", 3))]))
    assert workflow.steps[0].condition.expected == "3"


def test_a_pydantic_class_as_schema_becomes_json_schema():
    class Answer(pydantic.BaseModel):
        text: str

    workflow = Workflow.parse(graph(task("a", schema=Answer)))
    assert workflow.model_dump()["tasks"][0]["schema"] == Answer.model_json_schema()


def test_a_pydantic_class_that_is_no_json_schema_is_a_graph_error():
    class Answer(pydantic.BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        text: object.__class__
        call: type(lambda: 0)

    with pytest.raises(GraphError, match="schema"):
        Workflow.parse(graph(task("a", schema=Answer)))


def test_enums_of_texts_are_texts():
    class Kind(StrEnum):
        GENERATION = "generation"

    assert Workflow.parse(graph(task("a", operator=Kind.GENERATION))) == Workflow.parse(PLAIN)


def test_the_fields_of_this_project_survive_a_dump():
    sampling = Sampling(temperature=0.5, stop=("x",))
    more = {"sampling": sampling, "model": "m", "open_user_turn": True}
    workflow = Workflow.parse(graph(task("a", "", **more)))
    dumped = workflow.model_dump()["tasks"][0]
    assert dumped["sampling"] == {"temperature": 0.5, "stop": ["x"]}
    assert (dumped["model"], dumped["open_user_turn"]) == ("m", True)
    assert Workflow.parse(workflow.model_dump()) == workflow
    assert validate(workflow.model_dump())


@pytest.mark.parametrize(
    "messages",
    [[], [user("Hi")], [user(""), {"role": "assistant", "content": ""}]],
    ids=["none", "not empty", "not the user's"],
)
def test_an_open_user_turn_ends_with_an_empty_user_message(messages):
    with pytest.raises(GraphError, match="open_user_turn"):
        Workflow.parse(graph(task("a", messages=messages, open_user_turn=True)))


def test_what_a_factory_emits_is_valid():
    workflow = MagPie().workflow("A scientist", "A cook", 3)
    assert validate(workflow.model_dump())


@given(graphs())
def test_a_graph_is_read_from_its_text_as_from_its_values(values):
    text = json.dumps(values)
    assert Workflow.parse_text(text) == Workflow.parse(json.loads(text))


@pytest.mark.parametrize(
    "changed",
    [
        {"config": {"max_steps": 1e999, "max_time": 1}},
        {"config": {"max_steps": 1, "max_time": float("nan")}},
        {"external_memory": {"a": {"b": float("inf")}}},
        {"external_memory": {"a": ["\ud800"]}},
        {"tasks": [{"id": "a", "operator": "generation", "schema": {"x": [[[1e999]]]}}]},
        {"steps": 7},
    ],
)
def test_what_is_no_graph_is_none_as_a_text_either(changed):
    values = {**graph(task("a"), steps=[edge("a")]), **changed}
    with pytest.raises(GraphError):
        Workflow.parse(values)
    with pytest.raises((GraphError, ValueError)):
        Workflow.parse_text(json.dumps(values))
