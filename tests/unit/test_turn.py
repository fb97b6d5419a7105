"""`Turn.from_json` reads as `json.loads` and `Turn.from_dict` do, sooner."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dria_magpie.errors import StateError
from dria_magpie.models import Sampling, Turn

NAMES = ["task_id", "text", "model", "node", "seconds", "attempts", "prompt_tokens", "sampling"]
NEEDED = '"task_id": "a", "text": "x", "model": "m"'
ODD_TEXTS = [r"\ud800", r"\udc00\ud83d", r"\ud83d\ude00", "\ud800", "\x7f", "\n", r"\n", r"\x", "é"]
ODD_NUMBERS = ["-0", "-0.0", "1e400", "NaN", "-Infinity", "Inf", "01", "1.", ".5", "+1", "0x1"]
ODD_VALUES = ["null", "true", "[]", "{}", '{"seed": 3}', '{"seed": "x"}', '{"seed": 1, "seed": 2}']

texts = st.lists(
    st.text(max_size=5).map(lambda t: json.dumps(t)[1:-1]) | st.sampled_from(ODD_TEXTS)
)
digits = st.from_regex(r"[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
values = st.one_of(
    texts.map(lambda parts: f'"{"".join(parts)}"'),
    digits,
    st.integers(-1, 2**53).map(str),
    st.floats(0, 2**53).map(repr),
    st.sampled_from([*ODD_NUMBERS, *ODD_VALUES]),
)
names = st.sampled_from([f'"{name}"' for name in [*NAMES, "unknown"]])
fields = st.lists(st.builds("{}: {}".format, names, values), max_size=3)
lines = st.builds(
    lambda before, after, end: "{" + ", ".join([*before, NEEDED, *after]) + end,
    fields,
    fields,
    st.sampled_from(["}", "}", "}", "} \r\n", "}x", ",}", ""]),
)


def read_slowly(text):
    return Turn.from_dict(json.loads(text))


def read(reader, text):
    """Give what was read, with the types of its numbers, or why it was not."""
    try:
        return repr(reader(text))
    except (StateError, ValueError) as error:
        return repr(error)


@given(lines)
@settings(max_examples=2000)
def test_a_turn_is_read_alike_whichever_way(line):
    assert read(Turn.from_json, line) == read(read_slowly, line)


@given(st.text(max_size=40) | st.text('{}[]":,0123456789.eE+-\\u \t\n', max_size=40))
def test_what_is_no_turn_is_refused_alike(text):
    assert read(Turn.from_json, text) == read(read_slowly, text)


def test_of_fields_that_come_twice_the_last_counts():
    turn = Turn.from_json("{" + NEEDED + ', "text": "y", "seconds": "x", "seconds": 2}')
    assert (turn.text, turn.seconds, turn.sampling) == ("y", 2, Sampling())
    with pytest.raises(StateError, match=r"turn\.text"):
        Turn.from_json("{" + NEEDED + ', "text": 1}')


@pytest.mark.parametrize("text", ["\ud800 half", "whole 😀", "\x00", '"\\'])
def test_what_a_model_said_goes_through_json_unaltered(text):
    turn = Turn(task_id="a", text=text, model="m", sampling=Sampling(seed=3, stop=("\ud800",)))
    assert Turn.from_json(json.dumps(turn.to_dict())) == turn
    assert Turn.from_json(json.dumps(turn.to_dict(), ensure_ascii=False)) == turn


@pytest.mark.parametrize("text", ["[" * 100_000, '{"text": ' * 100_000])
def test_nesting_without_end_is_refused(text):
    with pytest.raises(RecursionError):
        Turn.from_json(text)
