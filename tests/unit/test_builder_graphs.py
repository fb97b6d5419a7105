"""Graphs made with Dria's own builder run here, whichever way they are dumped."""

from __future__ import annotations

import json
import warnings

import pydantic
import pytest

from dria_magpie.errors import StepError
from dria_magpie.models import Task
from dria_magpie.network import LocalNetwork
from dria_magpie.node import Node
from dria_magpie.testing import ScriptedEngine
from dria_magpie.workflow import Workflow
from tests.builder import dw, validate

GENERATION = dw.Operator.GENERATION
ADULT = {"name": "Ann"}


def dump_full(built):
    return json.loads(built.model_dump_json())


def dump_trimmed(built):
    return json.loads(built.model_dump_json(exclude_none=True, exclude_unset=True))


def dump_python(built):
    return built.model_dump()


def undumped(built):
    return built


def as_ours(built):
    return Workflow.parse(built)


def as_our_dump(built):
    return Workflow.parse(built).model_dump()


FORMS = [dump_full, dump_trimmed, dump_python, undumped, as_ours, as_our_dump]
old_pydantic = pytest.mark.filterwarnings("ignore::DeprecationWarning")
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


async def run(values, *answers):
    engine = ScriptedEngine(list(answers))
    network = LocalNetwork([Node(engine)])
    await network.start()
    events = [event async for event in network.run(Task(workflow=values))]
    return events[-1], [request.messages[-1].content for request in engine.requests]


def edge(source, target="_end", **more):
    return dw.Edge(source=source, target=target, **more)


def chat_loop():
    builder = dw.WorkflowBuilder(topic="tea {{x}}")
    builder.generative_step(
        GENERATION, prompt="On {{topic}}: {{chat}}", inputs=[dw.GetAll.new("chat", False)], id="say"
    )
    builder.tasks[-1].outputs.append(dw.Push.new("chat"))
    builder.map["chat"] = [dw.InputValueType.GET_ALL]
    again = dw.ConditionBuilder.build(
        expected=3,
        expression=dw.Expression.GREATER_THAN_OR_EQUAL,
        input=dw.Size.new("chat", True),
        target_if_not="say",
    )
    builder.flow([edge("say", condition=again)])
    builder.set_return_value("chat")
    return builder.build()


@every_form
async def test_a_loop_on_the_size_of_a_list(form):
    result, prompts = await run(form(chat_loop()), "42", '{"b":1,"a":2}', '"x"')
    assert json.loads(result.result) == ["42", '{"b":1,"a":2}', '"x"']
    assert prompts == [
        "On tea {{x}}: ",
        "On tea {{x}}: 42 \n",
        'On tea {{x}}: 42 \n{"b":1,"a":2} \n',
    ]


def branches():
    builder = dw.WorkflowBuilder(question="Yes?")
    builder.generative_step(
        GENERATION, prompt="{{question}}", id="ask", outputs=[dw.Write.new("a")]
    )
    for name in ("yes", "no", "lost"):
        builder.generative_step(
            GENERATION, prompt=f"{name}: {{{{a}}}}", id=name, outputs=[dw.Write.new("b")]
        )
        builder.tasks[-1].inputs[0].required = False
    agreed = dw.ConditionBuilder.build(
        expected="yes",
        expression=dw.Expression.EQUAL,
        input=dw.Read.new("a", True),
        target_if_not="no",
    )
    builder.flow(
        [
            edge("ask", "yes", condition=agreed, fallback="lost"),
            edge("yes"),
            edge("no"),
            edge("lost"),
        ]
    )
    builder.set_return_value(["a", "b"])
    return builder.build()


@every_form
@pytest.mark.parametrize(
    ("answer", "asked", "returned"),
    [
        ("yes", "yes: yes", '["yes","B"]'),
        ("maybe", "no: maybe", '["maybe","B"]'),
        (" ", "lost: ", '["","B"]'),
    ],
)
async def test_branches_with_a_fallback_and_two_returned_keys(form, answer, asked, returned):
    result, prompts = await run(form(branches()), answer, "B")
    assert prompts == ["Yes?", asked]
    assert result.result == returned


def readers():
    builder = dw.WorkflowBuilder(people=["Ann", "Bob", "Cid"], word="w")
    builder.generative_step(
        GENERATION,
        prompt="{{people}}|{{word}}",
        inputs=[dw.Pop.new("people", True)],
        outputs=[dw.Write.new("first")],
    )
    builder.generative_step(
        GENERATION,
        prompt="{{people}}|{{first}}",
        inputs=[dw.Peek.new("people", 1, True), dw.String.new("first", "literal", True)],
        outputs=[dw.Push.new("said"), dw.Insert.new("said")],
    )
    builder.generative_step(
        GENERATION,
        prompt="{{people}}",
        inputs=[dw.Size.new("people", True)],
        outputs=[dw.Push.new("said")],
    )
    builder.generative_step(GENERATION, prompt="{{people}}{{said}}", outputs=[dw.Push.new("said")])
    builder.flow([edge("0", "1"), edge("1", "2"), edge("2", "3"), edge("3")])
    builder.set_return_value("said")
    return builder.build()


@every_form
async def test_every_way_to_read_memory(form):
    result, prompts = await run(form(readers()), "A", "B", "C", "D")
    assert prompts == ["Cid|w", "Bob|literal", "2", "Ann \nBob \nB \nC \n"]
    assert json.loads(result.result) == ["B", "C", "D"]


def searching(*, fallback=None):
    builder = dw.WorkflowBuilder(query="tea")
    builder.search_step(search_query="{{query}}", outputs=[dw.Write.new("found")], id="search")
    builder.generative_step(
        GENERATION, prompt="{{query}}", outputs=[dw.Write.new("found")], id="ask"
    )
    builder.flow([edge("search", fallback=fallback), edge("ask")])
    builder.set_return_value("found")
    return builder.build()


@every_form
async def test_a_search_fails_clearly_or_takes_its_fallback(form):
    result, prompts = await run(form(searching()))
    assert isinstance(result.error, StepError)
    assert "search" in str(result.error)
    result, prompts = await run(form(searching(fallback="ask")), "found")
    assert (result.result, prompts) == ("found", ["tea"])


class Weather(dw.CustomTool):
    name: str = "weather"
    description: str = "Tells the weather"
    city: str = pydantic.Field(default="", description="where")

    def execute(self, **kwargs):
        return None


class Price(dw.HttpRequestTool):
    name: str = "price"
    description: str = "Tells a price"
    url: str = "https://localhost/price"
    method: dw.HttpMethod = dw.HttpMethod.GET


def tools():
    builder = dw.WorkflowBuilder(query="tea")
    builder.add_custom_tool(Weather())
    builder.add_custom_tool(Price())
    builder.generative_step(
        dw.Operator.FUNCTION_CALLING_RAW, prompt="{{query}}", outputs=[dw.Write.new("call")]
    )
    builder.generative_step(GENERATION, prompt="{{query}}", outputs=[dw.Write.new("call")])
    builder.flow([edge("0", fallback="1"), edge("1")])
    builder.set_return_value("call")
    builder.set_max_tokens(50)
    builder.set_tools(["stock", "jina"])
    return builder.build()


@old_pydantic
@every_form
async def test_custom_tools_are_read_and_function_calling_takes_its_fallback(form):
    values = form(tools())
    workflow = Workflow.parse(values)
    assert [tool["name"] for tool in workflow.config.custom_tools] == ["weather", "price"]
    result, _ = await run(values, "done")
    assert result.result == "done"


class Answer(pydantic.BaseModel):
    text: str


def structured():
    builder = dw.WorkflowBuilder()
    builder.generative_step(GENERATION, prompt="Hi", schema=Answer, outputs=[dw.Write.new("a")])
    builder.flow([edge("0")])
    builder.set_return_value("a")
    return builder.build()


@pytest.mark.parametrize("form", [dump_python, undumped, as_ours, as_our_dump])
async def test_a_schema_may_be_a_class_of_pydantic(form):
    result, _ = await run(form(structured()), '{"text": "hi"}')
    assert result.result == '{"text": "hi"}'
    result, _ = await run(form(structured()), "hi")
    assert isinstance(result.error, StepError)


def mixed_memory():
    builder = dw.WorkflowBuilder(notes=["one", ADULT])
    builder.generative_step(GENERATION, prompt="{{notes}}", outputs=[dw.Push.new("notes")])
    builder.flow([edge("0")])
    builder.set_return_value("notes")
    return builder.build()


async def test_memory_that_makes_the_builders_dump_warn_is_read():
    result, prompts = await run(mixed_memory(), "said")
    assert prompts == ['one \n{"name":"Ann"} \n']
    assert json.loads(result.result) == ["one", '{"name":"Ann"}', "said"]


@old_pydantic
@pytest.mark.parametrize("make", [chat_loop, branches, readers, searching, tools, mixed_memory])
def test_what_the_builder_made_is_still_valid_after_our_dump(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert validate(dump_trimmed(make()))
    assert validate(Workflow.parse(make()).model_dump())
