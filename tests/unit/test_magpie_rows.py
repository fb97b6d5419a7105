"""`Magpie` and `MagpieGenerator`: what goes in, what comes out, and when.

What distilabel's tasks do as well is in test_distilabel_behaviours.py, and what they do wrong in
test_distilabel_defects.py.
"""

from __future__ import annotations

import asyncio

import pytest

from dria_magpie import Dria, InvalidInputError, Node, NoNodeError
from dria_magpie.errors import EndpointError
from dria_magpie.magpie import Magpie, MagpieGenerator
from dria_magpie.models import Sampling
from dria_magpie.testing import ScriptedEngine
from tests.unit.rows import generate, process, say, say_by_seed, seeds

# Attributes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"system_prompt": ["x", " "]}, "system_prompt takes a text"),
        ({"system_prompt": {"a": ("x", 0.5), "b": "y"}}, "for each key, or for none"),
        ({"system_prompt": {"a": ("x",)}}, r"system_prompt\['a'\] takes \(text, share\)"),
        ({"system_prompt": {"a": ("x", 0.5, 0.5)}}, r"takes \(text, share\)"),
        ({"n_turns": 0}, "num_turns"),
        ({"seed": -1}, "seed"),
        ({"shard": 2, "num_shards": 2}, "shard takes 0 to"),
        ({"instruction_sampling": None}, "instruction_sampling takes a Sampling"),
        ({"response_sampling": {"max_new_tokens": 9}}, "max_new_tokens; known are .*max_tokens"),
    ],
)
def test_attributes_that_cannot_work(options, said):
    with pytest.raises(InvalidInputError, match=said):
        Magpie(**options)


def test_sampling_may_be_a_mapping():
    magpie = Magpie(instruction_sampling={"temperature": 1.2})
    assert magpie == Magpie(instruction_sampling=Sampling(temperature=1.2))


@pytest.mark.parametrize("number", [-1, True, 2.0, None])
def test_a_number_of_rows_that_is_none(number):
    with pytest.raises(InvalidInputError, match="num_rows"):
        MagpieGenerator(num_rows=number)


# Rows


async def test_a_row_that_fails_keeps_its_place_and_says_why():
    def answer(request):
        fails = request.messages[0].content == "Fail."
        return EndpointError("broken", 400) if fails else say(request)

    given = [{"id": 1}, {"id": 2, "system_prompt": "Fail."}, {"id": 3}]
    rows = await process(Magpie(), given, answer)
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert (rows[1]["instruction"], rows[1]["response"]) == (None, None)
    assert rows[1]["metadata"]["error"] == "EndpointError: broken"


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


async def test_a_model_that_nobody_serves_ends_everything_at_once():
    with pytest.raises(NoNodeError):
        await process(Magpie(models=("nobody",)), [{}] * 100)


# Generators


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
    first, same, other = [
        await generate(MagpieGenerator(num_rows=5, seed=seed), say_by_seed) for seed in (1, 1, 2)
    ]
    assert first == same
    assert not {row["instruction"] for row in first} & {row["instruction"] for row in other}
    assert len({row["instruction"] for row in first}) == 5
