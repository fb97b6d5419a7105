from __future__ import annotations

import io
import json
import time

import pytest

from dria_magpie.engines.prompts import sandbox
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # As Phi-4-mini's, made for a renderer that leaves it undefined
        ("{% if tools is defined %}{% for t in tools %}{{ t }}{% endfor %}{% endif %}!", "!"),
        ("{% if tools is defined %}{{ raise_exception('no tools') }}{% endif %}!", "!"),
        ("{% if documents is defined %}{{ documents | length }}{% endif %}!", "!"),
        # As Llama-3.1's, made for Hugging Face's, which has None there
        ("{% if tools is not none %}{{ raise_exception('tools') }}{% endif %}!", "!"),
        (
            "{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools is none }}",
            "True",
        ),
    ],
)
def test_templates_may_take_tools_for_none_or_for_undefined(text, expected):
    assert render(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{{ raise_exception('no system') }}{{ tools }}", r"refuses these messages: no system$"),
        ("{{ 1 / 0 }}{{ tools }}", "ZeroDivisionError"),
    ],
)
def test_a_failure_that_has_nothing_to_do_with_tools_is_told_as_it_is(text, error):
    with pytest.raises((UnsupportedError, InvalidInputError), match=error):
        render(text)


def test_the_process_answers_each_line(monkeypatch):
    monkeypatch.setattr(sandbox, "limit_memory", lambda _: None)
    monkeypatch.setattr(sandbox, "_set_alarm", lambda _: None)
    templates = ["{{ a }}", "{{ raise_exception('no') }}", "{% if %}", "{{ [0] * a * 10**18 }}"]
    orders = [{"template": text, "variables": {"a": 7}} for text in templates]
    lines = [{"memory": 0, "seconds": 1}, *orders]
    answers = io.BytesIO()
    sandbox.serve(io.BytesIO(b"".join(json.dumps(x).encode() + b"\n" for x in lines)), answers)
    ready, text, refused, fault, stopped = map(json.loads, answers.getvalue().splitlines())
    assert (ready, text, refused) == ({}, {"text": "7"}, {"refused": "no"})
    assert fault["fault"].startswith("TemplateSyntaxError: ")
    assert "memory" in stopped["stopped"]


def test_the_generation_prompt_is_asked_for():
    text = "{{ messages | length }}{% if add_generation_prompt %}A:{% endif %}"
    assert [render(text), render(text, add_generation_prompt=True)] == ["2", "2A:"]


def test_what_the_template_refuses_is_told_in_its_words_without_control_characters():
    with pytest.raises(UnsupportedError, match=r"refuses these messages: no  \[31msystem$"):
        render("{{ raise_exception('no \x1b[31msystem') }}")


# What takes minutes or gigabytes is in tests/integration/test_template_process.py
BEYOND = {
    "range": "{{ range(10**9) | list }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "recursive block": "{% block a %}{{ self.a() }}{% endblock %}",
    "deep expression": "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}",
    "long number": "{{ " + "9" * 9999 + " }}",
    "many loops": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "long text": "{% set a = 'a' * 100000 %}{% for i in range(99) %}{{ a }}{% endfor %}",
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_template_beyond_all_measure_is_refused_at_once(name):
    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="cannot be used: "):
        render(BEYOND[name])
    assert time.monotonic() - began < 2


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
    path.write_text("{{ messages[0].content }}")
    assert ChatTemplate.from_file(path).render(HI) == "Hi"
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidInputError, match="no text in UTF-8"):
        ChatTemplate.from_file(path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        ChatTemplate.from_file(tmp_path / "none.jinja")
    with pytest.raises(UnsupportedError, match=r"no chat template; give .* \.gguf"):
        ChatTemplate.from_file(tmp_path / "mine.txt")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer_config": {"bos_token": "<s>", "eos_token": {"content": "</s>"}}}, "<s>Hi</s>"),
        ({"special_tokens_map": {"bos_token": {"content": "<s>"}}}, "<s>Hi"),
        (
            {
                "special_tokens_map": {"bos_token": "<old>", "eos_token": "</s>"},
                "tokenizer_config": {"bos_token": "<s>", "chat_template": "old"},
            },
            "<s>Hi</s>",
        ),
        ({"tokenizer_config": {"bos_token": None}}, "Hi"),
    ],
)
def test_a_jinja_files_special_tokens_are_read_from_what_lies_beside_it(tmp_path, files, expected):
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    path = tmp_path / "chat_template.jinja"
    path.write_text(TEXT)
    found = ChatTemplate.from_file(path)
    assert found.render(HI) == expected
    assert found.origin == str(path)


def test_a_jinja_file_whose_special_tokens_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "chat_template.jinja"
    path.write_text(TEXT)
    with pytest.raises(UnsupportedError, match=r"bos_token and eos_token.* tokenizer_config\.json"):
        ChatTemplate.from_file(path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="is damaged"):
        ChatTemplate.from_file(path)


def test_a_configs_special_tokens_may_be_in_a_file_beside_it(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({"chat_template": TEXT, "bos_token": None}))
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(tokens))
    assert ChatTemplate.from_file(path).render(HI) == "Hi</s>"


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
