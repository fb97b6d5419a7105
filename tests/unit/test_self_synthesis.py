from __future__ import annotations

import json
from pathlib import Path

import pytest

from dria_magpie import Dria, InvalidInputError, MagPie, Node, ParseError, Task, TaskResult
from dria_magpie.factory import SelfSynthesis
from dria_magpie.models import Sampling
from dria_magpie.testing import ScriptedEngine
from dria_magpie.workflow import Workflow
from tests.builder import dw


async def run(**options):
    engine = ScriptedEngine(
        lambda r: f"{'Question' if r.open_user_turn else 'Answer'} {len(r.messages)}"
    )
    async with Dria(nodes=[Node(engine)]) as dria:
        result = await dria.execute(Task(workflow=SelfSynthesis().workflow(**options)))
    return result, [*engine.requests]


def roles(result):
    return "".join(m["role"][0] for m in SelfSynthesis().parse_result(result)["conversation"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "ua"),
        ({"num_turns": 3}, "uauaua"),
        ({"num_turns": 2, "end_with_user": True}, "uau"),
        ({"end_with_user": True}, "u"),
        ({"num_turns": 4, "only_instruction": True}, "u"),
        ({"only_instruction": True, "end_with_user": True}, "u"),
    ],
)
async def test_who_speaks_and_how_often(options, expected):
    result, requests = await run(**options)
    assert roles(result) == expected
    assert len(requests) == len(expected)
    assert [r.open_user_turn for r in requests] == [role == "u" for role in expected]


async def test_each_call_sees_the_conversation_so_far():
    _, requests = await run(system_prompt="Be {{kind}}.", num_turns=2)
    assert [[(m.role, m.content) for m in r.messages] for r in requests] == [
        [("system", "Be {{kind}}."), ("user", "")],
        [("system", "Be {{kind}}."), ("user", "Question 2")],
        [
            ("system", "Be {{kind}}."),
            ("user", "Question 2"),
            ("assistant", "Answer 2"),
            ("user", ""),
        ],
        [
            ("system", "Be {{kind}}."),
            ("user", "Question 2"),
            ("assistant", "Answer 2"),
            ("user", "Question 4"),
        ],
    ]


async def test_without_a_system_prompt_there_is_no_system_message():
    _, requests = await run()
    assert [len(request.messages) for request in requests] == [1, 1]


async def test_instructions_are_hot_and_answers_cool_unless_told_otherwise():
    _, requests = await run()
    assert [request.sampling.temperature for request in requests] == [1.0, 0.0]
    _, requests = await run(
        instruction_sampling=Sampling(temperature=1.2, seed=4),
        response_sampling=Sampling(max_tokens=9),
    )
    assert [request.sampling.to_dict() for request in requests] == [
        {"temperature": 1.2, "top_p": 1.0, "max_tokens": 512, "seed": 4},
        {"temperature": 0.0, "max_tokens": 9},
    ]
    _, mapped = await run(
        instruction_sampling={"temperature": 1.2, "seed": 4}, response_sampling={"max_tokens": 9}
    )
    assert [r.sampling for r in mapped] == [r.sampling for r in requests]


def test_the_emitted_graph_is_the_file_in_workflows():
    graph = SelfSynthesis().workflow("You are a helpful assistant.", 2)
    text = (Path(__file__).parents[2] / "workflows" / "self_synthesis.json").read_text("utf-8")
    assert json.loads(text) == json.loads(graph.model_dump_json())


def test_the_size_of_the_graph_does_not_depend_on_the_turns():
    sizes = {len(json.dumps(SelfSynthesis().workflow(num_turns=n).model_dump())) for n in (2, 4)}
    assert len(sizes) == 1


@pytest.mark.parametrize("options", [{}, {"num_turns": 2, "end_with_user": True}])
def test_the_validator_accepts_the_graph(options):
    graph = SelfSynthesis().workflow("Be kind.", **options).model_dump()
    dw.validate_workflow_json(json.dumps(graph))
    assert Workflow.parse(graph).model_dump() == graph


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_turns": 0}, "num_turns"),
        ({"num_turns": True}, "num_turns"),
        ({"system_prompt": " "}, "system_prompt"),
        ({"system_prompt": 5}, "system_prompt"),
        ({"instruction_model": ""}, "instruction_model"),
        ({"end_with_user": "no"}, "end_with_user takes True or False"),
        ({"only_instruction": 0}, "only_instruction takes True or False"),
        ({"instruction_sampling": 5}, "instruction_sampling takes a Sampling"),
        ({"response_sampling": {"top_p": 2}}, "response_sampling: top_p takes"),
    ],
)
def test_arguments_that_cannot_work(options, said):
    with pytest.raises(InvalidInputError, match=said):
        SelfSynthesis().workflow(**options)


def test_one_instance_without_state():
    assert SelfSynthesis() is SelfSynthesis()
    assert SelfSynthesis() is not MagPie()


def test_a_list_keeps_the_place_of_what_failed():
    good = TaskResult(id="1", result='["Why?", "So."]', model="m")
    bad = TaskResult(id="2", result='["Why?", ""]', model="m")
    first, second = SelfSynthesis().parse_result([good, bad])
    assert [message["role"] for message in first["conversation"]] == ["user", "assistant"]
    assert second == {"error": "message 1 is empty"}
    with pytest.raises(ParseError, match="message 1 is empty"):
        SelfSynthesis().parse_result(bad)
