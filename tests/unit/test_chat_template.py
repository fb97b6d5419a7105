from __future__ import annotations

import json
import time

import pytest

from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Message

HI = [Message("user", "Hi"), Message("assistant", "Grüße")]
TEXT = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"


def render(text, messages=HI, **more):
    return ChatTemplate.from_jinja(text, "<s>", "</s>").render(messages, **more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, "<s>Hi</s>"),
        (
            "{% for m in messages %}\n  {% if true %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}",
            "user\nassistant\n",
        ),
        ("{% for m in messages %}{% continue %}x{% endfor %}", ""),
        ("{% for m in messages if m.role == 'user' %}{{ loop.length }}{% endfor %}", "1"),
        ("{% generation %}{{ messages[1].content }}{% endgeneration %}!", "Grüße!"),
        ("{{ messages[1] | tojson }}", '{"role": "assistant", "content": "Grüße"}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ '<' | tojson }}", '"<"'),
        ("{{ strftime_now('%d %b %Y, %-d %%') }}", "26 Jul 2024, 26 %"),
        ("{{ tools is none }} {{ documents }} {{ add_generation_prompt }}", "True None False"),
        ("{{ unknown }}{{ messages[0].unknown }}", ""),
        ("{{ messages | map(attribute='role') | join('+') }}", "user+assistant"),
        ("{{ ['a', 'b'] | join }}{{ '-'.join(['a', 'b']) }}", "aba-b"),
        ("{{ 'a-b' | replace('-', '+') }}{{ 'a-b'.replace('-', '+') }}", "a+ba+b"),
        ("{{ 'a\nb' | indent(2) }}{{ 'a\nb' | indent('>') }}", "a\n  ba\n>b"),
        ("{{ 2 * 3 }}{{ 'ab' * 2 }}{{ 7 % 4 }}{{ [1] + [2] }}{{ 1 ~ 'a' }}", "6abab3[1, 2]1a"),
        (
            "{{ {'a': (1, 2)} }}{% for k, v in {'a': 1}.items() %}{{ k ~ v }}{% endfor %}",
            "{'a': (1, 2)}a1",
        ),
        ("{% macro m(x) %}[{{ x | trim }}]{% endmacro %}{{ m(' a ') }}", "[a]"),
        (
            "{% set ns = namespace() %}{% for m in [1] %}{% set ns.n = 2 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
    ],
)
def test_rendering_is_as_on_the_hub(text, expected):
    assert render(text) == expected


def test_the_generation_prompt_is_asked_for():
    text = "{{ messages | length }}{% if add_generation_prompt %}A:{% endif %}"
    assert [render(text), render(text, add_generation_prompt=True)] == ["2", "2A:"]


def test_what_the_template_refuses_is_told_in_its_words_without_control_characters():
    with pytest.raises(UnsupportedError, match=r"refuses these messages: no  \[31msystem$"):
        render("{{ raise_exception('no \x1b[31msystem') }}")


GROWING = (
    "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = STEP %}{% endfor %}"
)
LONG = "{% set a = 'a' * 100000 %}"
BOMBS = {
    "product": "{{ 'a' * 10**10 }}",
    "product of numbers": "{{ 10**1000 * 10**1000 }}",
    "power": "{{ 10**(10**9) }}",
    "range": "{{ range(10**9) | list }}",
    "concatenation": GROWING.replace("START", "'ab'").replace("STEP", "ns.x ~ ns.x"),
    "sum": GROWING.replace("START", "'ab'").replace("STEP", "ns.x + ns.x"),
    "nested lists": GROWING.replace("START", "[1]").replace("STEP", "[ns.x, ns.x]"),
    "nested dicts": GROWING.replace("START", "1").replace("STEP", "dict(a=ns.x, b=ns.x)"),
    "nested literals": GROWING.replace("START", "1").replace("STEP", "{1: ns.x, 2: (ns.x,)}"),
    "nested namespaces": GROWING.replace("START", "1").replace("STEP", "namespace(a=ns.x, b=ns.x)"),
    "circle": "{% set a = namespace() %}{% set a.x = a %}{{ a }}",
    "circle in a filter": "{% set a = namespace() %}{% set a.x = a %}{{ a | upper }}",
    "constant text": "{% for i in range(99999) %}" + "x" * 99999 + "{% endfor %}",
    "captured text": "{% set a %}{% for i in range(99999) %}"
    + "x" * 9999
    + "{% endfor %}{% endset %}",
    "long output": LONG + "{% for i in range(99) %}{{ a }}{% endfor %}",
    "replace": LONG + "{{ a.replace('', a) }}",
    "replace filter": LONG + "{{ a | replace('a', a) }}",
    "replace in a circle": "{% set a = namespace() %}{% set a.x = a %}{{ a | replace('x', 'y') }}",
    "join": LONG + "{{ a.join(range(9999) | list) }}",
    "join of what is lazy": LONG + "{{ a.join(range(9999)) }}",
    "join filter": LONG + "{{ range(9999) | join(a) }}",
    "many long texts": LONG + "{{ range(99999) | map('string') | map('replace', '1', a) | list }}",
    "indent": "{{ 'a\nb' | indent(10**9) }}",
    "indent of JSON": "{{ [1] | tojson(indent=10**9) }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "recursive block": "{% block a %}{{ self.a() }}{% endblock %}",
    "deep expression": "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}",
    "long number": "{{ " + "9" * 9999 + " }}",
    "many loops": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "long template": "a" * 200_000,
    "padding": "{{ 'a'.ljust(10**9) }}",
    "padding filter": "{{ 'a' | center(10**9) }}",
    "format": "{{ '{:>1000000000}'.format(1) }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "bytes": "{{ (1).to_bytes(10**9, 'big') }}",
    "date": "{{ strftime_now('%999999999d') }}",
    "lorem ipsum": "{{ lipsum(10**6) }}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_that_grows_without_end_is_refused_at_once(name):
    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="cannot be used: "):
        render(BOMBS[name])
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    ],
)
def test_a_template_that_never_ends_is_stopped(text, monkeypatch):
    monkeypatch.setattr("dria_magpie.engines.prompts.budget._SECONDS", 0.1)
    with pytest.raises(InvalidInputError, match="runs for more than"):
        render(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ ''['__class__']['__mro__'] }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'a' %}",
    ],
)
def test_a_template_sees_nothing_but_what_it_was_given(text):
    with pytest.raises(InvalidInputError, match="cannot be used"):
        render(text)


def test_attributes_that_are_none_of_its_business_are_undefined():
    assert render("{{ messages | map(attribute='__class__') | list }}") == "[Undefined, Undefined]"
    assert render("{{ raise_exception.__globals__ }}{{ ''.__class__ is defined }}") == "False"


@pytest.mark.parametrize("text", ["{% for %}", "{{ 1 / 0 }}", "{{ a.b.c }}", "{{ 'a' | nothing }}"])
def test_a_faulty_template_is_told(text):
    with pytest.raises(
        InvalidInputError, match=r"given as text.* cannot be used: .*; give the path"
    ):
        render(text)


@pytest.mark.parametrize(
    "chat_template",
    [TEXT, [{"name": "tool_use", "template": "other"}, {"name": "default", "template": TEXT}]],
)
@pytest.mark.parametrize("bos", ["<s>", {"content": "<s>", "lstrip": False}])
def test_a_tokenizer_config_in_all_its_forms(chat_template, bos, tmp_path):
    config = {"chat_template": chat_template, "bos_token": bos, "eos_token": "</s>"}
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(config))
    for source in (config, path):
        assert ChatTemplate.from_tokenizer_config(source).render(HI) == "<s>Hi</s>"
    assert ChatTemplate.from_file(path).origin == str(path)


def test_tokens_may_be_missing():
    found = ChatTemplate.from_tokenizer_config({"chat_template": TEXT, "bos_token": None})
    assert (found.bos_token, found.eos_token) == ("", "")


def test_a_template_beside_the_config_comes_first(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    path.write_text('{"bos_token": "<s>", "chat_template": "old"}')
    (tmp_path / "chat_template.jinja").write_text(TEXT)
    assert ChatTemplate.from_file(path).render(HI) == "<s>Hi"


def test_a_jinja_file(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(TEXT)
    assert ChatTemplate.from_file(path).render(HI) == "Hi"
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidInputError, match="no text in UTF-8"):
        ChatTemplate.from_file(path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        ChatTemplate.from_file(tmp_path / "none.jinja")
    with pytest.raises(UnsupportedError, match=r"no chat template; give .* \.gguf"):
        ChatTemplate.from_file(tmp_path / "mine.txt")


@pytest.mark.parametrize(
    "config", [{}, {"chat_template": None}, {"chat_template": [{"name": "rag", "template": TEXT}]}]
)
def test_a_config_without_a_template_is_told(config):
    with pytest.raises(UnsupportedError, match="has no chat template; give the path"):
        ChatTemplate.from_tokenizer_config(config)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_config_is_told(content, tmp_path):
    path = tmp_path / "tokenizer_config.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="is damaged"):
        ChatTemplate.from_tokenizer_config(path)


def test_a_config_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        ChatTemplate.from_tokenizer_config(tmp_path / "tokenizer_config.json")
