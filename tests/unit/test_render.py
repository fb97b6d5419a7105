from __future__ import annotations

import pytest

from dria_magpie.errors import StepError
from dria_magpie.workflow import Memory, Workflow
from dria_magpie.workflow.parts import PostProcess, ReturnValue
from dria_magpie.workflow.render import (
    LONGEST,
    fill,
    post_process,
    render,
    render_messages,
    render_return,
)
from tests.unit.flow import graph, task


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("  as it is\n", "  as it is\n"),
        ('{"b":1,"a":2}', '{"b":1,"a":2}'),
        ('"x"', '"x"'),
        ({"b": [1, None, True], "a": "ü/"}, '{"a":"ü/","b":[1,null,true]}'),
        (("hi", "hello"), "hi \nhello \n"),
        (({"a": "x"}, ""), '{"a":"x"} \n \n'),
        ((), ""),
    ],
)
def test_values_are_rendered_verbatim(value, text):
    assert render(value) == text


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{{x}} and {x}", "X and X"),
        ("{{{x}}}", "{X}"),
        ("{{{{x}}}}", "{{X}}"),
        ("{{x}", "{X"),
        ("{x}}", "X}"),
        ("{{ x }} {X} {{unknown}} {unknown}", "{{ x }} {X} {{unknown}} {unknown}"),
        ("{{xx}}{x}{{a.b}}", "XXXdot"),
        ("{{axb}}", "{{axb}}"),
        ("{{deep}}|{deep}", "{{x}} {x} {deep}|{{x}} {x} {deep}"),
        ("{{back}}", "\\1\\g<0>"),
        ("{}{{}}", "{}{{}}"),
        ("none", "none"),
    ],
)
def test_placeholders_are_filled_in_one_pass(template, filled):
    values = {"x": "X", "xx": "XX", "a.b": "dot", "back": "\\1\\g<0>"}
    assert fill(template, {**values, "deep": "{{x}} {x} {deep}"}) == filled


def test_an_empty_name_is_a_name_too():
    assert fill("{{}}{}", {"": "E"}) == "EE"


def test_without_inputs_a_template_stays():
    assert fill("{{x}}", {}) == "{{x}}"


def test_a_text_that_grows_past_reason_is_refused_before_it_is_made():
    with pytest.raises(StepError, match="exceeds"):
        fill("{x}" * 100_000, {"x": "x" * 1_000_000})


def test_a_prompt_that_is_too_long_is_refused():
    one = Workflow.parse(graph(task("a", messages=[{"role": "user", "content": "{x}"}] * 3)))
    with pytest.raises(StepError, match="a text exceeds"):
        render_messages(one.tasks[0], {"x": "x" * (LONGEST // 2)})


def test_unknown_roles_become_the_user():
    roles = ["system", "user", "assistant", "tool", "System", ""]
    messages = [{"role": role, "content": "{x}"} for role in roles]
    one = Workflow.parse(graph(task("a", messages=messages))).tasks[0]
    rendered = render_messages(one, {"x": None})
    assert [m.role for m in rendered] == ["system", "user", "assistant", "user", "user", "user"]
    assert {m.content for m in rendered} == {""}


@pytest.mark.parametrize(
    ("kind", "lhs", "rhs", "text"),
    [
        ("replace", "a", "b", " xbbX "),
        ("replace", "a", "", " xX "),
        ("replace", "a", None, " xaaX "),
        ("replace", None, "b", " xaaX "),
        ("append", "l", "r", " xaaX r"),
        ("append", "l", None, " xaaX "),
        ("prepend", "l", "r", "l xaaX "),
        ("prepend", None, "r", " xaaX "),
        ("to_lower", None, None, " xaax "),
        ("to_upper", None, None, " XAAX "),
        ("trim", None, None, "xaaX"),
        ("trim_start", None, None, "xaaX "),
        ("trim_end", None, None, " xaaX"),
    ],
)
def test_each_change_of_the_returned_text(kind, lhs, rhs, text):
    assert post_process(" xaaX ", [PostProcess(process_type=kind, lhs=lhs, rhs=rhs)]) == text


@pytest.mark.parametrize("char", ["\x1c", "\x1f", "\ufeff", "\u200b"])
def test_only_white_space_of_unicode_is_trimmed(char):
    trim = [PostProcess(process_type="trim")]
    assert post_process(f"\u3000\x85{char} \u2003", trim) == char


def test_changes_come_one_after_the_other():
    steps = [("replace", "a", "#"), ("replace", "b", "$"), ("replace", "#", "b"), ("to_upper",) * 1]
    changes = [
        PostProcess(**dict(zip(("process_type", "lhs", "rhs"), s, strict=False))) for s in steps
    ]
    assert post_process("ab ß", changes) == "B$ SS"


MEMORY = Memory(
    cache={"t": "Text", "o": {"k": "Ü"}, "j": '{"b":1,"a":2}'},
    stacks={"l": ("eins", '"zwei"', {"b": 1, "a": "ü"}), "empty": ()},
)
UPPER = {"post_process": [{"process_type": "to_upper"}]}


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ({"input": ("read", "t")}, "Text"),
        ({"input": ("read", "none")}, ""),
        ({"input": ("read", "none"), "to_json": True}, ""),
        ({"input": ("read", "j")}, '{"b":1,"a":2}'),
        ({"input": ("read", "t"), **UPPER}, "TEXT"),
        ({"input": ("read", "t"), "to_json": True, **UPPER}, "TEXT"),
        ({"input": ("read", "o"), "to_json": True}, '{"k":"Ü"}'),
        ({"input": ("size", "l"), "to_json": True}, "3"),
        ({"input": ("get_all", "l")}, 'eins \n"zwei" \n{"a":"ü","b":1} \n'),
        (
            {"input": ("get_all", "l"), "to_json": False, **UPPER},
            'EINS \n"ZWEI" \n{"A":"Ü","B":1} \n',
        ),
        (
            {"input": ("get_all", "l"), "to_json": True, **UPPER},
            '["eins","\\"zwei\\"","{\\"a\\":\\"ü\\",\\"b\\":1}"]',
        ),
        ({"input": ("get_all", "empty"), "to_json": True, **UPPER}, "[]"),
        ({"input": ("get_all", "empty")}, ""),
        (
            {
                "input": ("get_all", "none"),
                "to_json": True,
                "post_process": [{"process_type": "append", "rhs": "x"}],
            },
            "x",
        ),
        ({"input": [("read", "t")]}, "Text \n"),
        ({"input": [("read", "t"), ("read", "t")], **UPPER}, "TEXT \nTEXT \n"),
        ({"input": [("read", "t"), ("read", "none")], "to_json": True, **UPPER}, '["Text",""]'),
        (
            {"input": [("pop", "l"), ("size", "l")], "to_json": True},
            '["{\\"a\\":\\"ü\\",\\"b\\":1}","2"]',
        ),
        (
            {"input": [("get_all", "l"), ("read", "t")]},
            'eins \n"zwei" \n{"a":"ü","b":1} \n \nText \n',
        ),
        ({"input": []}, ""),
        ({"input": [], "to_json": True}, "[]"),
    ],
)
def test_what_a_run_returns(returned, text):
    given = returned["input"]
    parts = [dict(zip(("type", "key"), p, strict=True)) for p in given if isinstance(given, list)]
    single = {} if isinstance(given, list) else dict(zip(("type", "key"), given, strict=True))
    value = ReturnValue.model_validate({**returned, "input": single or parts})
    assert render_return(value, MEMORY) == text
