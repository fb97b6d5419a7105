from __future__ import annotations

import base64

import pytest

from dria_magpie.errors import StepError
from dria_magpie.workflow.schema import response_format

PLAIN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def wrapped(schema, name="answer"):
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


@pytest.mark.parametrize("schema", [None, ""])
def test_without_a_schema_the_answer_is_free(schema):
    assert response_format(schema) is None


def test_json_schema_is_handed_on_and_closed_at_the_top():
    assert response_format(PLAIN) == wrapped({**PLAIN, "additionalProperties": False})
    assert "additionalProperties" not in PLAIN
    open_schema = {**PLAIN, "additionalProperties": True}
    assert response_format(open_schema) == wrapped(open_schema)


def test_json_schema_may_come_as_text():
    text = '{"title": "My Answer é", "type": "object"}'
    schema = {"title": "My Answer é", "type": "object", "additionalProperties": False}
    assert response_format(text) == wrapped(schema, "My_Answer__")


@pytest.mark.parametrize("title", ["", "é" * 100, "x" * 100])
def test_the_name_is_one_that_endpoints_take(title):
    name = response_format({"title": title})["json_schema"]["name"]
    assert 1 <= len(name) <= 64
    assert name.isascii()


def test_geminis_dialect_is_translated_but_properties_named_type_are_not():
    schema = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "ARRAY", "items": {"type": "STRING"}},
            "n": {"anyOf": [{"type": "INTEGER"}, {"type": ["STRING", "null"]}]},
        },
        "enum": ["STRING"],
    }
    translated = response_format(schema)["json_schema"]["schema"]
    assert translated["type"] == "object"
    assert translated["properties"]["type"] == {"type": "array", "items": {"type": "string"}}
    assert translated["properties"]["n"]["anyOf"][0] == {"type": "integer"}
    assert translated["enum"] == ["STRING"]


@pytest.mark.parametrize("pattern", ['\\{"a":\\d+\\}', "x", "[0-9]{3}"])
def test_a_pattern_in_base64_asks_for_any_json(pattern):
    encoded = base64.b64encode(pattern.encode()).decode()
    assert response_format(encoded) == {"type": "json_object"}


@pytest.mark.parametrize(
    "schema",
    [
        5,
        True,
        [],
        "no schema",
        "[1]",
        '"x"',
        "é",
        "[" * 100_000,
        "[" * 500 + "]" * 500,
        '{"a":' * 300 + "1" + "}" * 300,
        "/" * 5000,
        '{"a": NaN}',
    ],
    ids=lambda s: repr(s)[:20],
)
def test_anything_else_fails_the_task(schema):
    with pytest.raises(StepError, match="schema"):
        response_format(schema)


def test_an_empty_schema_asks_for_any_json() -> None:
    assert response_format({}) == {"type": "json_object"}
    assert response_format("{}") == {"type": "json_object"}
