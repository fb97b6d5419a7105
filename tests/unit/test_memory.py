from __future__ import annotations

import pytest

from dria_magpie.workflow import Memory, Workflow
from dria_magpie.workflow.parts import InputValue
from tests.unit.flow import graph

MEMORY = Memory(
    cache={"k": "cached", "o": {"b": 1}, "__input": "outer"},
    stacks={"k": ("one", "two"), "empty": ()},
)


def access(kind, key="k", index=None, memory=MEMORY):
    return memory.access(InputValue(type=kind, key=key, index=index))


@pytest.mark.parametrize(
    ("kind", "key", "index", "value"),
    [
        ("read", "k", None, "cached"),
        ("read", "o", None, {"b": 1}),
        ("read", "other", None, None),
        ("input", "k", None, "outer"),
        ("peek", "k", None, "one"),
        ("peek", "k", 1, "two"),
        ("peek", "k", 2, None),
        ("peek", "k", -1, None),
        ("peek", "other", None, None),
        ("get_all", "k", None, ("one", "two")),
        ("get_all", "empty", None, ()),
        ("get_all", "other", None, None),
        ("size", "k", None, "2"),
        ("size", "other", None, "0"),
        ("string", "literal", None, "literal"),
        ("string", "", None, ""),
        ("pop", "k", None, "two"),
        ("pop", "empty", None, None),
        ("pop", "other", None, None),
    ],
)
def test_each_kind_of_input_reads_its_own_store(kind, key, index, value):
    assert access(kind, key, index)[0] == value


def test_the_outer_input_is_absent_unless_the_memory_has_it():
    assert access("input", memory=Memory())[0] is None


def test_only_pop_changes_the_memory_and_an_emptied_list_stays():
    for kind in ("read", "input", "peek", "get_all", "size", "string"):
        assert access(kind)[1] is MEMORY
    _, once = access("pop")
    _, twice = access("pop", memory=once)
    value, thrice = access("pop", memory=twice)
    assert once.stacks["k"] == ("one",)
    assert (twice.stacks["k"], value) == ((), None)
    assert thrice is twice
    assert MEMORY.stacks["k"] == ("one", "two")


def test_writing_and_pushing_give_new_memories():
    changed = MEMORY.write("k", "new").push("k", "three").push("fresh", "first")
    assert changed.cache["k"] == "new"
    assert changed.stacks["k"] == ("one", "two", "three")
    assert changed.stacks["fresh"] == ("first",)
    assert MEMORY.cache["k"] == "cached"
    assert "fresh" not in MEMORY.stacks


def test_inserted_texts_are_cut_and_short_pieces_left_out():
    text = "ü" * 250 + "b" * 250 + "c" * 24
    assert Memory().insert(text).insert("c" * 25).files == ("ü" * 250, "b" * 250, "c" * 25)


def test_external_memory_goes_to_its_stores():
    outer = {"t": "text", "o": {"a": None}, "l": ["x", {"b": "y"}], "empty": []}
    memory = Memory.of(Workflow.parse(graph(memory=outer)))
    assert memory.cache == {"t": "text", "o": {"a": None}}
    assert memory.stacks == {"l": ("x", {"b": "y"})}
    assert memory.files == ()
