from __future__ import annotations

import itertools

import pytest

from dria_magpie.errors import GraphError
from dria_magpie.workflow import Workflow
from dria_magpie.workflow.render import render_messages
from tests.unit.flow import graph, read, run, task, user

S = {"role": "system", "content": "You are {{name}}."}
H = {"role": "history", "content": "{{chat}}"}
CHAT = ("one", "two", "three")


def spread(*messages, chat=CHAT, **more):
    given = task("a", messages=list(messages), **more)
    rendered = render_messages(Workflow.parse(graph(given)).tasks[0], {"chat": chat, "name": "Ann"})
    return [(message.role, message.content) for message in rendered]


def test_at_the_end_the_newest_message_is_the_other_sides():
    assert spread(S, H) == [
        ("system", "You are Ann."),
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]
    assert [role for role, _ in spread(user("Begin."), H, chat=CHAT[:2])] == [
        "user",
        "assistant",
        "user",
    ]


@pytest.mark.parametrize("open_turn", [True, False])
def test_before_a_user_message_the_newest_is_ones_own(open_turn):
    messages = spread(S, H, user(""), open_user_turn=open_turn)
    assert [role for role, _ in messages] == ["system", "assistant", "user", "assistant", "user"]
    assert messages[-1] == ("user", "")


def test_before_an_assistant_message_the_newest_is_the_other_sides():
    messages = spread(H, {"role": "assistant", "content": "Well,"}, chat=("Hi",))
    assert messages == [("user", "Hi"), ("assistant", "Well,")]


@pytest.mark.parametrize("chat", [(), None, ""], ids=["emptied", "absent", "empty text"])
def test_an_empty_history_is_no_message(chat):
    assert spread(S, H, user("Begin."), chat=chat) == [
        ("system", "You are Ann."),
        ("user", "Begin."),
    ]


def test_a_single_value_is_one_message():
    assert spread(H, chat="Hi") == [("user", "Hi")]


def test_what_was_said_is_never_filled():
    said = ("{{name}} {chat}", {"b": "{name}", "a": 1})
    assert spread(H, chat=said) == [
        ("assistant", "{{name}} {chat}"),
        ("user", '{"a":1,"b":"{name}"}'),
    ]


@pytest.mark.parametrize("content", ["{{chat}}", "{chat}", " {{chat}}\n"])
def test_both_brace_styles_name_the_list(content):
    assert spread({"role": "history", "content": content}, chat=("Hi",)) == [("user", "Hi")]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "chat",
        "{{chat}} and more",
        "{{a}} {{b}}",
        "{{a}}{{b}}",
        "{a}{b}",
        "{{}}",
        "{{chat}",
        "{{{chat}}}",
    ],
)
def test_a_history_is_exactly_one_placeholder(content):
    with pytest.raises(GraphError, match="one placeholder"):
        Workflow.parse(graph(task("a", messages=[{"role": "history", "content": content}])))


def test_only_an_empty_history_leaves_nothing_to_send_and_that_fails_the_task():
    values = graph(task("a", messages=[H], inputs=[read("chat", "get_all")]))
    assert run(values) == (("failed", "task"), [])


def test_each_side_sees_itself_as_the_assistant_and_prompts_only_grow():
    push = {"type": "push", "key": "chat", "value": "__result"}
    inputs = [read("chat", "get_all")]
    values = graph(
        task("a", messages=[user("Begin."), H], inputs=inputs, outputs=[push]),
        task("b", messages=[H], inputs=inputs, outputs=[push]),
        steps=[{"source": "a", "target": "b"}, {"source": "b", "target": "a"}],
        max_steps=6,
    )
    _, asked = run(values, *"123456")
    mine, theirs = asked[0::2], asked[1::2]
    for prompts in (mine, theirs):
        for shorter, longer in itertools.pairwise(prompts):
            assert longer[: len(shorter)] == shorter
        assert all(prompt[-1][0] == "user" for prompt in prompts)
        for prompt in prompts:
            assert [role for role, _ in prompt] == ["user", "assistant", "user"] * 9 or all(
                left != right for (left, _), (right, _) in itertools.pairwise(prompt)
            )
