"""What distilabel's tasks of the same names do, and is kept here."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from dria_magpie import Dria, InvalidInputError, Node, UnsupportedError
from dria_magpie.engines.prompts.families import find_family
from dria_magpie.engines.prompts.pre_query import render_open_user_turn
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.raw.discovery import find_writer
from dria_magpie.errors import EndpointError
from dria_magpie.magpie import Magpie, MagpieGenerator
from dria_magpie.magpie.system_prompts import MULTI_TURN
from dria_magpie.models import Message
from dria_magpie.testing import ScriptedEngine
from tests.unit.rows import PAIR, ask, process, roles, say, shown

WEIGHTED = {"one": ("You are one.", 0.5), "two": ("You are two.", 0.5)}
OPENING = ("user", "")
LLAMA_3_OPENING = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
QWEN_2_OPENING = "<|im_start|>user\n"
CHAT_TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"


def make(kind, **options):
    return kind(num_rows=1, **options) if kind is MagpieGenerator else kind(**options)


# Attributes


@pytest.mark.parametrize("kind", [Magpie, MagpieGenerator])
@pytest.mark.parametrize("options", [{}, {"only_instruction": True}, {"n_turns": 2}])
async def test_an_engine_without_open_user_turns_is_refused_before_any_row(kind, options):
    def answer(request):
        return UnsupportedError("no raw prompts") if request.open_user_turn else say(request)

    engine, made, rows = ScriptedEngine(answer), make(kind, **options), []
    async with Dria(nodes=[Node(engine)]) as dria:
        drawn = made.process([{}] * 20, dria) if kind is Magpie else made.generate(dria)
        with pytest.raises(UnsupportedError, match="no raw prompts"):
            rows += [row async for row in drawn]
    assert rows == []
    assert all(request.open_user_turn for request in engine.requests)


@pytest.mark.parametrize("kind", [Magpie, MagpieGenerator])
def test_weights_whose_sum_is_not_one_are_refused(kind):
    weights = {"one": ("You are one.", 0.5), "two": ("You are two.", 0.4)}
    with pytest.raises(InvalidInputError, match=r"sum of the weights must be equal to 1\.0"):
        make(kind, system_prompt=weights)


@pytest.mark.parametrize("kind", [Magpie, MagpieGenerator])
@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"only_instruction": True}, ["instruction", "model_name"]),
        ({"only_instruction": True, "n_turns": 3}, ["instruction", "model_name"]),
        ({}, ["instruction", "response", "model_name"]),
        ({"n_turns": 2}, ["conversation", "model_name"]),
        (
            {"only_instruction": True, "system_prompt": PAIR},
            ["instruction", "system_prompt_key", "model_name"],
        ),
        (
            {"n_turns": 2, "system_prompt": PAIR},
            ["conversation", "system_prompt_key", "model_name"],
        ),
        (
            {"system_prompt": WEIGHTED},
            ["instruction", "response", "system_prompt_key", "model_name"],
        ),
    ],
)
def test_outputs_names_the_columns_in_their_order(kind, options, columns):
    assert make(kind, **options).outputs == columns


def test_a_system_prompt_is_the_only_input_and_may_be_missing():
    assert Magpie().inputs == {"system_prompt": False}


def test_to_dict_has_every_attribute_with_its_default():
    assert Magpie().to_dict() == {
        "n_turns": 1,
        "end_with_user": False,
        "include_system_prompt": False,
        "only_instruction": False,
        "system_prompt": None,
        "models": [],
        "instruction_sampling": {},
        "response_sampling": {},
        "seed": 0,
        "shard": 0,
        "num_shards": 1,
    }
    assert MagpieGenerator(num_rows=3).to_dict() == {**Magpie().to_dict(), "num_rows": 3}


def test_a_task_comes_back_from_the_json_of_its_dict():
    generator = MagpieGenerator(
        num_rows=3,
        n_turns=2,
        system_prompt=WEIGHTED,
        models=("m",),
        instruction_sampling={"temperature": 1.2, "stop": ["\n"]},
    )
    values = json.loads(json.dumps(generator.to_dict()))
    again = MagpieGenerator(**values)
    assert json.loads(json.dumps(again.to_dict())) == values
    assert again.instruction_sampling == generator.instruction_sampling
    assert [again.choose_prompt(n) for n in range(9)] == [
        generator.choose_prompt(n) for n in range(9)
    ]


# Rows


async def test_three_rows_in_three_rows_out_with_a_token_count_a_call():
    rows = await process(Magpie(), [{"id": 1}, {"id": 2}, {"id": 3}])
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert all((row["instruction"], row["response"]) == ("Q1", "A1") for row in rows)
    assert all(len(row["metadata"]["input_tokens"]) == 2 for row in rows)


async def test_two_turns_alternate_and_hide_the_system_prompt():
    [row] = await process(Magpie(n_turns=2, system_prompt="Be kind."), [{}])
    assert roles(row) == "uaua"
    assert len(row["metadata"]["input_tokens"]) == len(row["metadata"]["output_tokens"]) == 4


async def test_a_system_prompt_that_is_included_leads_the_conversation():
    [row] = await process(
        Magpie(n_turns=2, system_prompt="Be kind.", include_system_prompt=True), [{}]
    )
    assert row["conversation"][0] == {"role": "system", "content": "Be kind."}
    assert roles(row) == "suaua"


async def test_each_row_draws_its_own_prompt_of_a_list_by_the_seed():
    prompts = ["x", "y", "z"]

    async def draw(seed):
        magpie = Magpie(n_turns=2, system_prompt=prompts, include_system_prompt=True, seed=seed)
        rows = await process(magpie, [{}] * 50)
        return [row["conversation"][0]["content"] for row in rows]

    first = await draw(1)
    assert set(first) == set(prompts)
    assert await draw(1) == first
    assert await draw(2) != first


async def test_a_conversation_that_ends_with_the_user_has_one_call_less():
    [row] = await process(Magpie(n_turns=2, end_with_user=True), [{}])
    assert roles(row) == "uau"
    assert len(row["metadata"]["input_tokens"]) == 3


async def test_several_turns_have_a_system_prompt_of_the_packages_own():
    [row] = await process(Magpie(n_turns=2, include_system_prompt=True), [{}])
    assert row["conversation"][0] == {"role": "system", "content": MULTI_TURN}


async def test_a_rows_own_prompt_wins_and_is_echoed():
    rows = await process(
        Magpie(n_turns=2, system_prompt="Be kind.", include_system_prompt=True),
        [{"system_prompt": "Own."}, {}],
    )
    assert [row["conversation"][0]["content"] for row in rows] == ["Own.", "Be kind."]
    assert rows[0]["system_prompt"] == "Own."
    assert "system_prompt" not in rows[1]


@pytest.mark.parametrize("system_prompt", [None, "Be kind.", PAIR])
async def test_a_rows_own_prompt_wins_also_if_it_is_none(system_prompt):
    magpie = Magpie(n_turns=2, system_prompt=system_prompt, include_system_prompt=True)
    [row] = await process(magpie, [{"system_prompt": None}])
    assert roles(row) == "uaua"


@pytest.mark.parametrize("prompts", [PAIR, WEIGHTED])
async def test_keys_are_those_of_the_prompts_that_were_shown_row_by_row(prompts):
    rows = await process(
        Magpie(system_prompt=prompts), [{}] * 40, lambda request: request.messages[0].content
    )
    assert [row["instruction"] for row in rows] == [PAIR[row["system_prompt_key"]] for row in rows]
    assert {row["system_prompt_key"] for row in rows} == set(PAIR)


async def test_keys_follow_the_shares():
    shares = {"a": ("x", 0.75), "b": ("y", 0.25), "never": ("z", 0.0)}
    rows = await process(Magpie(system_prompt=shares), [{}] * 800)
    keys = Counter(row["system_prompt_key"] for row in rows)
    assert 540 < keys["a"] < 660
    assert keys["never"] == 0


async def test_there_is_one_token_count_where_only_an_instruction_is_asked_for():
    [row] = await process(Magpie(only_instruction=True, n_turns=3), [{}])
    assert len(row["metadata"]["input_tokens"]) == len(row["metadata"]["output_tokens"]) == 1


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({}, {"instruction": None, "response": None}),
        ({"only_instruction": True}, {"instruction": None}),
        ({"n_turns": 2}, {"conversation": []}),
        ({"n_turns": 2, "include_system_prompt": True}, {"conversation": []}),
    ],
)
async def test_a_row_without_any_message_has_empty_columns(options, columns):
    [row] = await process(Magpie(**options), [{}], lambda _: EndpointError("broken", 400))
    assert {name: row[name] for name in columns} == columns


# What the model is shown


@pytest.mark.parametrize(
    ("options", "row", "system"),
    [
        ({}, {}, None),
        ({"n_turns": 2}, {}, {MULTI_TURN}),
        ({"system_prompt": "Be kind."}, {}, {"Be kind."}),
        ({"system_prompt": ["Be kind.", "Be brief."]}, {}, {"Be kind.", "Be brief."}),
        ({"system_prompt": PAIR}, {}, set(PAIR.values())),
        ({"system_prompt": WEIGHTED}, {}, set(PAIR.values())),
        ({"system_prompt": PAIR, "n_turns": 2}, {"system_prompt": "Own."}, {"Own."}),
    ],
)
async def test_the_system_prompt_comes_before_the_first_open_turn(options, row, system):
    requests = await ask(Magpie(**options), [row] * 20)
    first = [shown(request) for request in requests if len(request.messages) < 3]
    opened = [messages for messages in first if messages[-1] == OPENING]
    assert len(opened) == 20
    if system is None:
        assert opened == [[OPENING]] * 20
    else:
        assert {messages[0] for messages in opened} == {("system", text) for text in system}
        assert {messages[1] for messages in opened} == {OPENING}


async def test_a_user_turn_is_opened_only_where_an_instruction_is_to_be_written():
    requests = await ask(Magpie(n_turns=2, system_prompt="Be kind."), [{}])
    assert [request.open_user_turn for request in requests] == [True, False, True, False]
    # What is to be answered ends with the user's own words, and nothing is put behind them.
    assert [shown(request)[-1] for request in requests] == [
        OPENING,
        ("user", "Q2"),
        OPENING,
        ("user", "Q4"),
    ]


@pytest.mark.parametrize(
    ("name", "opening"),
    [
        ("llama3", LLAMA_3_OPENING),
        ("llama3:8b", LLAMA_3_OPENING),
        ("meta-llama/Meta-Llama-3-8B-Instruct", LLAMA_3_OPENING),
        ("qwen2", QWEN_2_OPENING),
        ("Qwen/Qwen2-7B-Instruct", QWEN_2_OPENING),
    ],
)
def test_a_known_name_stands_for_the_opening_of_its_family(name, opening):
    assert render_open_user_turn([Message(*OPENING)], find_family(name)).text.endswith(opening)


class Server:
    """An endpoint without a network; only llama-server tells its template."""

    def __init__(self, props=None):
        self._props = props

    async def get(self, route):
        return self._props if route.endswith("/props") else None

    async def post(self, route, body):
        return {"usage": {"prompt_tokens": len(json.loads(body)["prompt"].split())}}


@pytest.mark.parametrize(
    ("model", "server", "template", "opening"),
    [
        ("mine", Server(), ChatTemplate.from_jinja(CHAT_TEMPLATE), "<user>"),
        ("mine", Server({"chat_template": CHAT_TEMPLATE}), None, "<user>"),
        ("llama3:8b", Server(), None, LLAMA_3_OPENING),
        ("llama3:8b", Server(), ChatTemplate.from_jinja(CHAT_TEMPLATE), "<user>"),
    ],
    ids=["given", "told by the server", "known by the name", "given for a known name"],
)
async def test_the_template_is_given_told_by_the_server_or_known_by_the_name(
    model, server, template, opening
):
    writer = await find_writer(server, "http://here/v1", model, template)
    assert writer.write([Message(*OPENING)]).text == opening


async def test_without_any_template_the_error_says_which_files_have_one():
    with pytest.raises(UnsupportedError, match=r"how mine writes .* tokenizer_config\.json"):
        await find_writer(Server(), "http://here/v1", "mine", None)
