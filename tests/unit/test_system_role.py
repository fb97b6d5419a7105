from __future__ import annotations

import jinja2
import jinja2.sandbox
import pytest

from dria_magpie.engines.chat.failures import Kind
from dria_magpie.engines.chat.refusals import read_refusal
from dria_magpie.engines.chat.system_role import alternates, fold, refuses_roles
from dria_magpie.models import Message
from tests.integration.templates import TEMPLATES, render

S, U, A = (
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello"),
)


@pytest.mark.parametrize(
    ("messages", "folded"),
    [
        ([S, U], [("user", "Be brief.\n\nHi")]),
        ([S, U, A, U], [("user", "Be brief.\n\nHi"), ("assistant", "Hello"), ("user", "Hi")]),
        ([S], [("user", "Be brief.")]),
        ([S, A, U], [("user", "Be brief."), ("assistant", "Hello"), ("user", "Hi")]),
        ([U, U, A, A], [("user", "Hi\n\nHi"), ("assistant", "Hello\n\nHello")]),
        ([U, A], [("user", "Hi"), ("assistant", "Hello")]),
        ([], []),
    ],
)
def test_folding_leaves_user_and_assistant_who_alternate(messages, folded):
    assert [(m.role, m.content) for m in fold(messages)] == folded


def test_folding_twice_changes_nothing():
    once = fold([S, U, U, A])
    assert fold(once) == once


@pytest.mark.parametrize(
    ("messages", "verdict"),
    [([S, U, A, U], True), ([U, U], False), ([S, A], False), ([S], True), ([], True)],
)
def test_order_is_judged_without_system_messages(messages, verdict):
    assert alternates(messages) is verdict


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("messages", [[S, U], [S, U, A, U], [S, U, U], [S, A, U], [S]])
def test_real_templates_take_folded_prompts_and_their_refusals_are_recognised(name, messages):
    refusal = ""
    try:
        render(name, messages)
    except jinja2.TemplateError as error:
        refusal = str(error)
    assert not refusal or refuses_roles(refusal)
    assert "Be brief." in render(name, fold(messages))


def test_the_first_mistral_and_gemma_templates_do_refuse_the_system_role():
    for name in ("gemma-2-it", "mistral-7b-instruct-v0.2"):
        with pytest.raises(jinja2.TemplateError):
            render(name, [S, U])


@pytest.mark.parametrize("status", [400, 422, 500])
def test_servers_differ_in_the_status_of_a_templates_refusal(status):
    text = '{"error": {"message": "Jinja Exception: System role not supported"}}'
    assert read_refusal(status, text).kind is Kind.ROLES


def test_other_errors_are_no_refusal_of_roles():
    assert not refuses_roles("the system is down")
    assert read_refusal(503, "System role not supported").kind is Kind.STATUS
