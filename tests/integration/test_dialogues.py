"""Whole dialogues against an endpoint: what a user sees of its faults."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jinja2
import pytest

from dria_magpie import (
    ContextLengthError,
    Dria,
    DriaMagpieError,
    EmptyCompletionError,
    EndpointError,
    MagPie,
    Message,
    Node,
    NoNodeError,
    OpenAIEngine,
    RetryPolicy,
    Task,
    TaskTimeoutError,
)
from tests.integration.endpoint import (
    Behaviour,
    Call,
    MisbehavingEndpoint,
    answer,
    cut_before,
    cut_within,
    html,
    never,
    raw,
    status,
)
from tests.integration.templates import TEMPLATES, render

FAST = RetryPolicy(wait=0.001, longest_wait=0.002)


def client(endpoint: MisbehavingEndpoint, **options: Any) -> Dria:
    return Dria(nodes=[Node(OpenAIEngine(endpoint.url, retry=FAST, **options))])


def dialogue(turns: int = 3, **options: Any) -> Task:
    return Task(workflow=MagPie().workflow("A chemist", "A cook", turns, **options))


async def test_each_speaker_sees_the_conversation_from_its_own_side() -> None:
    script = [answer(f"text {i}") for i in range(6)]
    async with MisbehavingEndpoint(script) as endpoint, client(endpoint) as dria:
        result = await dria.execute(dialogue())
    assert result.model == "really-m"
    roles = ["".join(role[0] for role, _ in call.messages) for call in endpoint.calls]
    assert roles == ["su", "su", "suau", "suau", "suauau", "suauau"]
    asked = [content for _, content in endpoint.calls[4].messages[2:]]
    assert asked == ["text 0", "text 1", "text 2", "text 3"]
    answered = [content for _, content in endpoint.calls[5].messages[1:]]
    assert answered == ["text 0", "text 1", "text 2", "text 3", "text 4"]


async def test_the_prompt_of_a_turn_begins_with_the_prompt_of_the_last() -> None:
    script = [answer(f"text {i}") for i in range(8)]
    async with MisbehavingEndpoint(script) as endpoint, client(endpoint) as dria:
        await dria.execute(dialogue(4))
    prompts = [call.messages for call in endpoint.calls]
    for earlier, later in zip(prompts, prompts[2:], strict=False):
        assert later[: len(earlier)] == earlier


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning"])
async def test_what_a_model_thinks_is_in_neither_dialogue_nor_history(field: str) -> None:
    if field == "content":
        thoughtful = answer("<think>\nsecret thoughts\n</think>\n\nspoken")
    else:
        thoughtful = answer("spoken", **{field: "secret thoughts"})
    async with MisbehavingEndpoint([thoughtful]) as endpoint, client(endpoint) as dria:
        result = await dria.execute(dialogue())
    texts = [next(iter(m.values())) for m in MagPie().parse_result(result)["dialogue"]]
    assert texts == ["spoken"] * 6
    assert all("secret" in turn.reasoning for turn in result.turns)
    assert not any("secret" in json.dumps(call.body) for call in endpoint.calls)


@pytest.mark.parametrize("name", TEMPLATES)
async def test_a_template_without_a_system_role_gets_prompts_that_it_accepts(name: str) -> None:
    def apply_template(call: Call) -> Behaviour:
        try:
            render(name, [Message(role, content) for role, content in call.messages])  # type: ignore[arg-type]
        except jinja2.TemplateError as error:
            return status(400, str(error))
        return answer("Why?")

    async with MisbehavingEndpoint(apply_template) as endpoint, client(endpoint) as dria:
        result = await dria.execute(dialogue())
    assert len(result.turns) == 6
    assert len(endpoint.calls) <= 7
    assert "A chemist" in json.dumps(endpoint.calls[-1].body)


async def test_a_dialogue_that_outgrows_the_context_ends_with_its_turns() -> None:
    def full_after_four(call: Call) -> Behaviour:
        if len(call.messages) > 4:
            words = "This model's maximum context length is 4096 tokens."
            return status(400, words)
        return answer("Why?")

    async with MisbehavingEndpoint(full_after_four) as endpoint, client(endpoint) as dria:
        with pytest.raises(ContextLengthError) as caught:
            await dria.execute(dialogue(9))
    assert [turn.text for turn in caught.value.turns] == ["Why?"] * 4
    assert len(endpoint.calls) == 5


@pytest.mark.parametrize(
    "fault",
    [
        status(429, headers={"Retry-After": "0"}),
        status(500),
        html(),
        raw("{broken"),
        raw(json.dumps({"choices": []})),
        answer(""),
        answer(None),
        cut_before(),
        cut_within(),
    ],
    ids=["429", "500", "html", "broken", "no-choices", "empty", "null", "cut-before", "cut-within"],
)
async def test_a_passing_fault_costs_one_call_and_nothing_else(fault: Behaviour) -> None:
    script = [answer("one?"), fault, answer("two."), answer("three?"), answer("four.")]
    async with MisbehavingEndpoint(script) as endpoint, client(endpoint) as dria:
        result = await dria.execute(dialogue(2))
    assert [turn.text for turn in result.turns] == ["one?", "two.", "three?", "four."]
    assert [turn.attempts for turn in result.turns] == [1, 2, 1, 1]
    assert len(endpoint.calls) == 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(429), EndpointError),
        (status(500), EndpointError),
        (status(404, "no such model"), EndpointError),
        (status(401, "who are you?"), EndpointError),
        (raw("{broken"), EndpointError),
        (answer(""), EmptyCompletionError),
        (cut_before(), EndpointError),
    ],
    ids=["429", "500", "404", "401", "broken", "empty", "cut"],
)
async def test_a_lasting_fault_ends_in_an_error_that_says_so(
    fault: Behaviour, error: type[DriaMagpieError]
) -> None:
    async with MisbehavingEndpoint([answer("one?"), fault]) as endpoint, client(endpoint) as dria:
        with pytest.raises(error, match=endpoint.url) as caught:
            await dria.execute(dialogue())
    assert [turn.text for turn in caught.value.turns] == ["one?"]
    assert len(endpoint.calls) <= 1 + FAST.attempts


async def test_an_endpoint_that_never_answers_is_left_when_the_time_is_over() -> None:
    async with MisbehavingEndpoint([answer("one?"), never()]) as endpoint, client(endpoint) as dria:
        with pytest.raises(TaskTimeoutError) as caught:
            await dria.execute(dialogue(), timeout=0.3)
        await asyncio.wait_for(endpoint.hung_up.wait(), 5)
    assert len(caught.value.turns) == 1


async def test_an_endpoint_that_is_not_there_says_so_at_once() -> None:
    async with MisbehavingEndpoint() as gone:
        pass
    async with client(gone) as dria:
        with pytest.raises(EndpointError, match="is the server running"):
            await dria.execute(dialogue())


async def test_an_endpoint_names_what_it_serves_when_it_is_asked_for_something_else() -> None:
    async with MisbehavingEndpoint() as endpoint, client(endpoint) as dria:
        with pytest.raises(NoNodeError, match="serves m, n"):
            await dria.execute(Task(workflow=MagPie().workflow("A", "B"), models=["o"]))
    assert endpoint.calls == []


async def test_an_endpoint_without_a_list_of_models_is_asked_for_any() -> None:
    async with MisbehavingEndpoint(models=status(404)) as endpoint, client(endpoint) as dria:
        named = Task(workflow=MagPie().workflow("A", "B"), models=["whatever"])
        assert (await dria.execute(named)).error is None
        assert endpoint.calls[0].body["model"] == "whatever"
        with pytest.raises(NoNodeError, match="needs a name"):
            await dria.execute(dialogue())


async def test_a_schema_is_sent_as_response_format_and_its_answer_is_checked() -> None:
    graph = {
        "config": {"max_steps": 5, "max_time": 50},
        "tasks": [
            {
                "id": "ask",
                "operator": "generation",
                "messages": [{"role": "user", "content": "A person, please."}],
                "schema": {"title": "Person", "type": "object", "properties": {"name": {}}},
                "outputs": [{"type": "write", "key": "person", "value": "__result"}],
            }
        ],
        "steps": [{"source": "ask", "target": "_end"}],
        "return_value": {"input": {"type": "read", "key": "person"}},
    }
    script = [answer('{"b": 1, "a": 2}'), answer("Sure! Here you are")]
    async with MisbehavingEndpoint(script) as endpoint, client(endpoint) as dria:
        good, bad = [await dria.execute([Task(workflow=graph)]) for _ in range(2)]
    assert good[0].result == '{"b": 1, "a": 2}'
    sent = endpoint.calls[0].body["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"]["additionalProperties"] is False
    assert "did not answer in JSON" in str(bad[0].error)
    assert len(bad[0].turns) == 1


async def test_dialogues_do_not_wait_for_each_other() -> None:
    opened = asyncio.Event()

    def by_persona(call: Call) -> Behaviour:
        slow = "A slow one" in call.messages[0][1]

        async def behave(request: Any) -> Any:
            if slow:
                await opened.wait()
            return await answer("Why?")(request)

        return behave

    def task(name: str) -> Task:
        return Task(workflow=MagPie().workflow(name, "B", 2), id=name)

    async with MisbehavingEndpoint(by_persona) as endpoint, client(endpoint) as dria:
        finished: list[str] = []
        async for result in dria.stream([task("A slow one"), *map(task, ["x", "y", "z"])]):
            finished.append(result.id)
            if len(finished) == 3:
                opened.set()
    assert finished[-1] == "A slow one"


async def test_cancelled_calls_are_hung_up() -> None:
    async with MisbehavingEndpoint([never()]) as endpoint, client(endpoint) as dria:
        async with asyncio.TaskGroup() as group:
            run = group.create_task(dria.execute([dialogue() for _ in range(10)]))
            await endpoint.wait_for_calls(10)
            run.cancel()
        assert run.cancelled()
        await asyncio.wait_for(endpoint.idle.wait(), 5)
