from __future__ import annotations

import pytest

from dria_magpie.errors import StepError
from dria_magpie.workflow import Memory
from dria_magpie.workflow.conditions import is_met
from dria_magpie.workflow.parts import Condition
from tests.unit.flow import PUSH_X, edge, graph, prompts, run, task, when

ORDERS = ["GreaterThan", "LessThan", "GreaterThanOrEqual", "LessThanOrEqual"]
SENTENCE = "The quick brown fox jumps over the lazy dog near the river."


def met(value, expression, expected, memory=None):
    return is_met(Condition(**when(expression, expected)), value, memory or Memory())


@pytest.mark.parametrize(
    ("value", "expression", "expected", "verdict"),
    [
        ("a", "Equal", "a", True),
        ("a ", "Equal", "a", False),
        ("1.0", "Equal", "1", False),
        (None, "Equal", "", True),
        (("a",), "Equal", "a \n", True),
        ({"b": 1, "a": 2}, "Equal", '{"a":2,"b":1}', True),
        ("a", "NotEqual", "b", True),
        ("a", "NotEqual", "a", False),
        ("abc", "Contains", "b", True),
        ("abc", "Contains", "", True),
        ("abc", "Contains", "B", False),
        ("abc", "NotContains", "d", True),
        ("abc", "NotContains", "c", False),
        (("a", "b"), "Contains", "a \nb", True),
        ("3", "GreaterThan", "2.5", True),
        ("3", "GreaterThan", "3", False),
        ("3", "GreaterThanOrEqual", "3.0", True),
        ("2", "GreaterThanOrEqual", "3", False),
        ("-1", "LessThan", "+1", True),
        ("1", "LessThan", "1", False),
        ("10", "LessThanOrEqual", "9", False),
        ("1e3", "LessThanOrEqual", "1000", True),
        ("1.", "LessThan", "1.5E0", True),
        (".5", "GreaterThan", "0", True),
        ("inf", "GreaterThan", "1e999999", False),
        ("Infinity", "GreaterThanOrEqual", "9" * 500, True),
        ("nan", "LessThanOrEqual", "1", False),
        ("nan", "GreaterThan", "1", False),
    ],
)
def test_each_expression_compares(value, expression, expected, verdict):
    assert met(value, expression, expected) is verdict


@pytest.mark.parametrize("expression", ORDERS)
@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        " 1",
        "1 ",
        "1\n",
        "1_000",
        "1,5",
        "0x10",
        ".",
        "e5",
        "1e",
        "--1",
        "٣",
        "\u0131nf",
        "\u017f",
        "1 \n",
    ],
)
def test_an_ordered_comparison_of_no_number_fails_the_task(expression, bad):
    with pytest.raises(StepError, match="takes numbers"):
        met(bad, expression, "1")
    with pytest.raises(StepError, match="takes numbers"):
        met("1", expression, bad)


def test_have_similar_finds_near_duplicates_among_what_was_inserted():
    memory = Memory().insert("Nothing of the kind is in this text at all.").insert(SENTENCE)
    assert met("ignored", "HaveSimilar", SENTENCE.upper() + " ", memory)
    assert not met("ignored", "HaveSimilar", "An altogether different sentence.", memory)
    assert not met("ignored", "HaveSimilar", "", memory)


def test_have_similar_fails_the_task_before_anything_was_inserted():
    with pytest.raises(StepError, match="none was inserted"):
        met("x", "HaveSimilar", "x")
    with pytest.raises(StepError):
        met("x", "HaveSimilar", "x", Memory().insert("too short"))


def test_a_failed_comparison_takes_the_fallback_and_keeps_outputs_and_what_it_popped():
    condition = when("GreaterThan", "1", "a", type="pop", key="n")
    values = graph(
        task("a", outputs=[PUSH_X]),
        task(
            "b",
            "{n}",
            inputs=[{"name": "n", "value": {"type": "get_all", "key": "n"}, "required": True}],
        ),
        steps=[edge("a", "b", condition=condition, fallback="b"), edge("b")],
        memory={"n": ["1", "2", "no number"]},
        returned={"input": {"type": "get_all", "key": "x"}, "to_json": True},
    )
    outcome, asked = run(values, "said")
    assert outcome == ("finished", '["said"]')
    assert prompts(asked)[1] == "1 \n2 \n"
