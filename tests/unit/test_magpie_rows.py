"""`Magpie` and `MagpieGenerator`: what goes in, what comes out, and when."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from dria_magpie import Dria, InvalidInputError, Node, NoNodeError, UnsupportedError
from dria_magpie.errors import EndpointError
from dria_magpie.magpie import Magpie, MagpieGenerator
from dria_magpie.magpie.system_prompts import MULTI_TURN
from dria_magpie.testing import ScriptedEngine

PAIR = {"one": "You are one.", "two": "You are two."}


def say(request):
    return f"{'Q' if request.open_user_turn else 'A'}{len(request.messages)}"


async def process(magpie, rows, answer=say, **engine):
    async with Dria(nodes=[Node(ScriptedEngine(answer, **engine))]) as dria:
        return [row async for row in magpie.process(rows, dria)]


async def generate(generator, answer=say):
    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
        return [row async for row in generator.generate(dria)]


def roles(row):
    return "".join(message["role"][0] for message in row["conversation"])


def seeds(rows):
    return [seed for row in rows for seed in row["metadata"]["seeds"]]


# Attributes


@pytest.mark.parametrize("kind", [Magpie, MagpieGenerator])
@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"only_instruction": True}, ["instruction", "model_name"]),
        ({"only_instruction": True, "n_turns": 3}, ["instruction", "model_name"]),
        ({}, ["instruction", "response", "model_name"]),
        ({"n_turns": 2}, ["conversation", "model_name"]),
        (
            {"n_turns": 2, "system_prompt": PAIR},
            ["conversation", "system_prompt_key", "model_name"],
        ),
        (
            {"system_prompt": {"a": ("x", 0.5), "b": ("y", 0.5)}},
            ["instruction", "response", "system_prompt_key", "model_name"],
        ),
    ],
)
async def test_the_columns_are_those_that_outputs_names(kind, options, columns):
    more = {"num_rows": 1} if kind is MagpieGenerator else {}
    made = kind(**options, **more)
    assert made.outputs == columns
    [row] = await (generate(made) if more else process(made, [{}]))
    assert list(row) == [*columns, "metadata"]


def test_the_defaults():
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
    assert Magpie().inputs == {"system_prompt": False}
    assert MagpieGenerator(num_rows=3).to_dict()["num_rows"] == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"system_prompt": {"a": ("x", 0.5), "b": ("y", 0.4)}}, "weights must be equal to 1.0"),
        ({"system_prompt": {}}, "at least one"),
        ({"system_prompt": []}, "at least one"),
        ({"system_prompt": ["x", " "]}, "system_prompt takes a text"),
        ({"system_prompt": {"a": ("x", 0.5), "b": "y"}}, "for each key, or for none"),
        ({"n_turns": 0}, "num_turns"),
        ({"seed": -1}, "seed"),
        ({"shard": 2, "num_shards": 2}, "shard takes 0 to"),
    ],
)
def test_attributes_that_cannot_work(options, said):
    with pytest.raises(InvalidInputError, match=said):
        Magpie(**options)


def test_ten_times_a_tenth_is_one():
    Magpie(system_prompt={str(number): ("x", 0.1) for number in range(10)})


@pytest.mark.parametrize("number", [-1, True, 2.0, None])
def test_a_number_of_rows_that_is_none(number):
    with pytest.raises(InvalidInputError, match="num_rows"):
        MagpieGenerator(num_rows=number)


# Rows


async def test_three_rows_in_three_rows_out_with_a_token_count_a_call():
    rows = await process(Magpie(), [{"id": 1}, {"id": 2}, {"id": 3}])
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert all((row["instruction"], row["response"]) == ("Q1", "A1") for row in rows)
    assert all(len(row["metadata"]["input_tokens"]) == 2 for row in rows)


async def test_a_conversation_without_its_system_prompt():
    [row] = await process(Magpie(n_turns=2), [{}])
    assert roles(row) == "uaua"
    assert len(row["metadata"]["output_tokens"]) == 4


async def test_a_conversation_with_its_system_prompt():
    [row] = await process(
        Magpie(n_turns=2, system_prompt="Be kind.", include_system_prompt=True), [{}]
    )
    assert row["conversation"][0] == {"role": "system", "content": "Be kind."}
    assert roles(row) == "suaua"


async def test_several_turns_have_a_system_prompt_of_the_packages_own():
    [row] = await process(Magpie(n_turns=2, include_system_prompt=True), [{}])
    assert row["conversation"][0] == {"role": "system", "content": MULTI_TURN}
    [row] = await process(Magpie(n_turns=2, include_system_prompt=True), [{"system_prompt": None}])
    assert roles(row) == "uaua"


async def test_a_conversation_that_ends_with_the_user():
    [row] = await process(Magpie(n_turns=2, end_with_user=True), [{}])
    assert roles(row) == "uau"
    assert len(row["metadata"]["seeds"]) == 3
    [row] = await process(Magpie(end_with_user=True), [{}])
    assert (row["instruction"], row["response"]) == ("Q1", None)


async def test_one_entry_a_call_where_only_an_instruction_is_asked_for():
    [row] = await process(Magpie(only_instruction=True, n_turns=3), [{}])
    assert len(row["metadata"]["input_tokens"]) == 1


async def test_a_rows_own_prompt_wins_and_is_echoed():
    rows = await process(
        Magpie(n_turns=2, system_prompt=PAIR, include_system_prompt=True),
        [{"system_prompt": "Own."}, {}, {"system_prompt": "Own."}, {"system_prompt": None}],
    )
    firsts = [row["conversation"][0]["content"] for row in rows]
    assert firsts[0] == firsts[2] == "Own."
    assert rows[0]["system_prompt"] == "Own."
    # Keys stay with their rows, whatever rows had prompts of their own.
    assert [row["system_prompt_key"] for row in (rows[0], rows[2], rows[3])] == [None] * 3
    assert firsts[1] == PAIR[rows[1]["system_prompt_key"]]


async def test_keys_follow_the_shares():
    shares = {"a": ("x", 0.75), "b": ("y", 0.25), "never": ("z", 0.0)}
    rows = await process(Magpie(system_prompt=shares), [{}] * 800)
    keys = Counter(row["system_prompt_key"] for row in rows)
    assert 540 < keys["a"] < 660
    assert keys["never"] == 0


async def test_the_same_seed_chooses_the_same_prompts():
    prompts = ["x", "y", "z"]
    first, same, other = [
        [Magpie(system_prompt=prompts, seed=seed).choose_prompt(n).text for n in range(50)]
        for seed in (1, 1, 2)
    ]
    assert first == same
    assert first != other


async def test_a_row_that_fails_keeps_its_place_and_says_why():
    def answer(request):
        fails = request.messages[0].content == "Fail."
        return EndpointError("broken", 400) if fails else say(request)

    given = [{"id": 1}, {"id": 2, "system_prompt": "Fail."}, {"id": 3}]
    rows = await process(Magpie(), given, answer)
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert (rows[1]["instruction"], rows[1]["response"]) == (None, None)
    assert rows[1]["metadata"]["error"] == "EndpointError: broken"
    [row] = await process(Magpie(n_turns=2), [{"system_prompt": "Fail."}], answer)
    assert row["conversation"] == []


async def test_a_failure_in_the_middle_never_leaves_roles_out_of_order():
    def answer(request):
        return EndpointError("broken", 400) if len(request.messages) == 4 else say(request)

    [row] = await process(Magpie(n_turns=2), [{}], answer)
    assert row["conversation"] == []
    assert len(row["metadata"]["seeds"]) == 2


async def test_rows_come_in_their_order_though_the_first_is_slow():
    others_done = asyncio.Event()
    done = 0

    async def answer(request):
        nonlocal done
        if request.messages[0].content == "Slow.":
            await others_done.wait()
        elif not request.open_user_turn:
            done += 1
            if done == 5:
                others_done.set()
        return say(request)

    given = [{"n": 0, "system_prompt": "Slow."}, *({"n": n} for n in range(1, 6))]
    rows = await process(Magpie(), given, answer, slots=2)
    assert [row["n"] for row in rows] == list(range(6))


async def test_rows_may_come_from_an_async_iterator_without_end():
    async def endless():
        number = 0
        while True:
            yield {"number": number}
            number += 1

    async with Dria(nodes=[Node(ScriptedEngine(say, slots=2))]) as dria:
        made = Magpie().process(endless(), dria)
        assert [(await anext(made))["number"] for _ in range(20)] == list(range(20))
        await made.aclose()


async def test_a_row_that_is_no_mapping():
    with pytest.raises(InvalidInputError, match="row 1 is no mapping"):
        await process(Magpie(), [{}, "text"])


async def test_an_engine_that_cannot_do_it_ends_everything_at_once():
    with pytest.raises(UnsupportedError, match="no raw prompts"):
        await process(Magpie(), [{}] * 100, lambda _: UnsupportedError("no raw prompts"))
    with pytest.raises(NoNodeError):
        await process(Magpie(models=("nobody",)), [{}])


# Generators


@pytest.mark.parametrize("number", [0, 1, 12, 50, 120])
async def test_exactly_as_many_rows_though_a_third_of_the_calls_fail(number):
    calls = 0

    def answer(request):
        nonlocal calls
        calls += 1
        return EndpointError("broken", 500) if calls % 3 == 0 else say(request)

    rows = await generate(MagpieGenerator(num_rows=number), answer)
    assert len(rows) == number
    assert len(set(seeds(rows))) == len(seeds(rows)) == 2 * number
    assert all(row["metadata"]["error"] is None for row in rows)


async def test_a_generator_makes_no_call_too_many():
    engine = ScriptedEngine(say)
    async with Dria(nodes=[Node(engine)]) as dria:
        assert len([row async for row in MagpieGenerator(num_rows=7).generate(dria)]) == 7
    assert engine.calls == 14


async def test_a_generator_gives_up_on_an_engine_that_never_answers():
    with pytest.raises(EndpointError, match="broken"):
        await generate(MagpieGenerator(num_rows=1000), lambda _: EndpointError("broken", 500))


async def test_shards_share_no_seed_and_make_up_the_whole():
    whole = await generate(MagpieGenerator(num_rows=12, n_turns=2, seed=3))
    parts = [
        await generate(MagpieGenerator(num_rows=4, n_turns=2, seed=3, shard=n, num_shards=3))
        for n in range(3)
    ]
    drawn = [seed for part in parts for seed in seeds(part)]
    assert sorted(drawn) == sorted(seeds(whole))
    assert len(set(drawn)) == 48


async def test_the_same_seed_gives_the_same_rows_and_another_one_others():
    def answer(request):
        return f"{say(request)} {request.sampling.seed}"

    first, same, other = [
        await generate(MagpieGenerator(num_rows=5, seed=seed), answer) for seed in (1, 1, 2)
    ]
    assert first == same
    assert not {row["instruction"] for row in first} & {row["instruction"] for row in other}
    assert len({row["instruction"] for row in first}) == 5
