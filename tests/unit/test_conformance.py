"""The kinds of graphs that the old executor was tried with, with the outcomes that are due."""

from __future__ import annotations

import base64
import json

import pytest

from dria_magpie.workflow import NextCall, Workflow, advance
from dria_magpie.workflow.state import ExecutionState
from tests.unit.flow import edge, graph, prompts, read, run, task, when


def output(kind, key):
    return {"type": kind, "key": key, "value": "__result"}


def get_all(key, **more):
    return {"input": {"type": "get_all", "key": key}, **more}


def test_simple_an_array_without_to_json_is_rendered_as_a_list():
    poem = {"type": "read", "key": "poem"}
    values = graph(
        task("A", "Write a poem.", outputs=[output("write", "poem")]),
        steps=[edge("A", "end")],
        returned={"input": [poem, poem]},
    )
    assert run(values, "Roses")[0] == ("finished", "Roses \nRoses \n")


@pytest.mark.parametrize(("most", "ends"), [(30, True), (21, True), (20, False)])
def test_multiple_steps_a_task_loops_until_its_list_is_long_enough(most, ends):
    values = graph(
        task(
            "A",
            "Not: {history}",
            inputs=[read("history", "get_all")],
            outputs=[output("push", "history")],
        ),
        steps=[
            edge("A", "_end", condition=when("GreaterThan", "19", "A", type="size", key="history"))
        ],
        returned=get_all("history", to_json=True),
        max_steps=most,
    )
    outcome, asked = run(values, *map(str, range(20)))
    assert len(asked) == 20
    assert prompts(asked)[2] == "Not: 0 \n1 \n"
    assert outcome == (
        ("finished", json.dumps(list(map(str, range(20))), separators=(",", ":")))
        if ends
        else ("failed", "limit")
    )


def test_post_process_the_changes_come_in_order():
    changes = [
        {"process_type": "replace", "lhs": "a", "rhs": "#"},
        {"process_type": "replace", "lhs": "b", "rhs": "$"},
        {"process_type": "to_upper"},
    ]
    values = graph(
        task("A"), returned={"input": {"type": "read", "key": "x"}, "post_process": changes}
    )
    assert run(values, "a cab")[0] == ("finished", "# C#$")


def test_insert_a_search_that_is_no_json_fails():
    values = graph(
        task("A", outputs=[output("insert", ""), output("push", "history")]),
        task("B", "what was said", operator="search", outputs=[output("write", "found")]),
        steps=[
            edge(
                "A", "B", condition=when("GreaterThanOrEqual", "3", "A", type="size", key="history")
            ),
            edge("B"),
        ],
        returned={"input": {"type": "read", "key": "found"}},
        max_steps=5,
    )
    outcome, asked = run(values, "said")
    assert (outcome, len(asked)) == (("failed", "task"), 3)


def test_users_samples_until_the_list_of_lists_is_empty():
    values = graph(
        task(
            "A",
            "Variant",
            operator="sample",
            inputs=[read("dimension", "pop", "dimensions", required=True)],
            outputs=[output("push", "sampled")],
        ),
        task(
            "B",
            "{sampled}",
            inputs=[read("sampled", "get_all", required=True)],
            outputs=[output("write", "user")],
        ),
        steps=[
            edge(
                "A",
                "B",
                condition=when("Equal", "0", "A", type="size", key="dimensions"),
                fallback="A",
            ),
            edge("B"),
        ],
        memory={"dimensions": ["age", "missing", "town"], "age": ["old"], "town": ["Rome"]},
        returned={"input": {"type": "read", "key": "never written"}},
    )
    outcome, asked = run(values, "a user")
    assert prompts(asked) == ["Variant: Rome \nVariant: old \n"]
    assert outcome == ("finished", "")


def test_questions_peeks_and_reads_a_list_under_another_name():
    values = graph(
        task(
            "A",
            "{topic}: {perspectives}",
            inputs=[
                read("topic", "peek", "topics", index=0),
                read("perspectives", "get_all", "perspective"),
            ],
            outputs=[output("push", "perspective")],
        ),
        steps=[
            edge(
                "A", "_end", condition=when("GreaterThan", "2", "A", type="size", key="perspective")
            )
        ],
        memory={"topics": ["tea", "coffee"]},
        returned=get_all("perspective"),
    )
    outcome, asked = run(values, "1", "2", "3")
    assert prompts(asked) == ["tea: ", "tea: 1 \n", "tea: 1 \n2 \n"]
    assert outcome == ("finished", "1 \n2 \n3 \n")


def test_context_size_long_memory_is_sent_whole():
    context = "word " * 20_000
    values = graph(
        task(
            "A",
            "{context}|{history}",
            inputs=[read("context", "peek", "contexts"), read("history", "get_all")],
            outputs=[output("push", "history")],
        ),
        steps=[
            edge("A", "_end", condition=when("GreaterThan", "9", "A", type="size", key="history"))
        ],
        memory={"contexts": [context]},
        returned=get_all("history", to_json=True),
    )
    outcome, asked = run(values, "x")
    assert prompts(asked)[-1] == context + "|" + "x \n" * 9
    assert len(json.loads(outcome[1])) == 10


def test_coding_pushed_answers_come_back_as_json():
    code = 'def f():\n    return {"a": "{x}"}\n'
    values = graph(
        task("A", outputs=[output("push", "code")]),
        task("B", "{code}", inputs=[read("code", "get_all")], outputs=[output("push", "code")]),
        steps=[edge("A", "B"), edge("B")],
        returned=get_all("code", to_json=True),
    )
    outcome, asked = run(values, code, "fine")
    assert prompts(asked)[1] == f"{code} \n"
    assert json.loads(outcome[1]) == [code, "fine"]


@pytest.mark.parametrize("fallback", [None, "B"])
def test_search_fails_or_takes_its_fallback(fallback):
    query = '{"query": "{query}", "search_type": "news", "lang": "en", "n_results": 5}'
    values = graph(
        task("A", query, operator="search", inputs=[read("query")]),
        task("B"),
        steps=[edge("A", fallback=fallback), edge("B")],
        returned={"input": {"type": "read", "key": "x"}, "to_json": False},
        memory={"query": 'a "quoted" one'},
    )
    assert run(values, "said")[0] == (("finished", "said") if fallback else ("failed", "task"))


def test_all_a_written_value_reaches_a_task_with_single_braces():
    values = graph(
        task("A", outputs=[output("write", "query")]),
        task(
            "B", "Find {query}", operator="function_calling", inputs=[read("query", required=True)]
        ),
        task("C", "Find {query}", inputs=[read("query", required=True)]),
        steps=[edge("A", "B"), edge("B", fallback="C"), edge("C")],
        tools=["ALL"],
    )
    outcome, asked = run(values, "tea", "found")
    assert (outcome, prompts(asked)[1]) == (("finished", "found"), "Find tea")


@pytest.mark.parametrize("operator", ["function_calling", "function_calling_raw"])
@pytest.mark.parametrize(
    "config",
    [
        {"tools": ["stock"]},
        {
            "custom_tools": [
                {"name": "n", "description": "d", "mode": "custom", "parameters": {"a": None}}
            ]
        },
        {
            "custom_tools": [
                {
                    "name": "n",
                    "description": "d",
                    "mode": "http_request",
                    "url": "u",
                    "method": "GET",
                }
            ]
        },
    ],
    ids=["ticker", "custom", "http"],
)
def test_tools_fail_their_task(operator, config):
    assert run(graph(task("A", operator=operator), **config))[0] == ("failed", "task")


REGEX = base64.b64encode(rb'\{"a":\d+\}').decode()
JSON_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
GEMINI = {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (REGEX, "json_object"),
        (JSON_SCHEMA, "json_schema"),
        (json.dumps(JSON_SCHEMA), "json_schema"),
        (GEMINI, "json_schema"),
        (json.dumps(GEMINI), "json_schema"),
    ],
)
def test_structured_output_in_each_encoding(schema, kind):
    values = graph(
        task("A", schema=schema, outputs=[output("write", "a")]),
        returned={"input": [{"type": "read", "key": "a"}]},
    )
    workflow = Workflow.parse(values)
    call = advance(workflow, ExecutionState.start(workflow))
    assert isinstance(call, NextCall)
    assert call.request.response_format["type"] == kind
    if kind == "json_schema":
        given = call.request.response_format["json_schema"]["schema"]
        assert given == {**JSON_SCHEMA, "additionalProperties": False}
    assert run(values, '{"a": 5}')[0] == ("finished", '{"a": 5} \n')
