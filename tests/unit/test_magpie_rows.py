"""`Magpie` and `MagpieGenerator`: what goes in, what comes out, and when.

What distilabel's tasks do as well is in test_distilabel_behaviours.py, and what they do wrong in
test_distilabel_defects.py.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest

from dria_magpie import Dria, InvalidInputError, Node, NoNodeError, UnsupportedError
from dria_magpie.errors import EndpointError
from dria_magpie.magpie import Magpie, MagpieGenerator
from dria_magpie.magpie.system_prompts import SystemPrompt
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
        ({"system_prompt": {"a": ()}}, r"system_prompt\['a'\] takes \(text, share\)"),
        ({"system_prompt": {"a": ("x", 10**400)}}, r"system_prompt\['a'\] takes a share"),
        ({"system_prompt": {"a": ("x", 10**5000)}}, r"system_prompt\['a'\] takes a share"),
        ({"system_prompt": {"a": ("x", float("nan"))}}, r"\['a'\] takes a share"),
        ({"system_prompt": {"a": ("x", None)}}, r"\['a'\] takes a share"),
        ({"system_prompt": {"a": ("x", True)}}, r"\['a'\] takes a share"),
        ({"system_prompt": {"a": ("x", "1")}}, r"\['a'\] takes a share"),
        ({"system_prompt": 5}, "system_prompt takes a text, a list"),
        ({"system_prompt": b"x"}, "system_prompt takes"),
        ({"n_turns": 0}, "^n_turns takes 1 to"),
        ({"n_turns": 10**9}, "^n_turns takes 1 to"),
        ({"n_turns": 10**5000}, "^n_turns takes 1 to"),
        ({"n_turns": "2"}, "^n_turns takes a whole number"),
        ({"end_with_user": "no"}, "^end_with_user takes True or False"),
        ({"only_instruction": "no"}, "^only_instruction takes True or False"),
        ({"include_system_prompt": 1}, "^include_system_prompt takes True or False"),
        ({"models": "abc"}, "^models takes a list"),
        ({"models": None}, "^models takes a list"),
        ({"models": 5}, "^models takes a list"),
        ({"models": [1]}, "^models takes a list"),
        ({"models": ("",)}, "^models takes a list"),
        ({"seed": -1}, "^seed takes 0 to"),
        ({"seed": 2**63}, "^seed takes 0 to"),
        ({"seed": 1.5}, "^seed takes a whole number"),
        ({"shard": 2, "num_shards": 2}, r"^shard takes 0 to num_shards - 1 \(1\), not 2"),
        ({"shard": -1}, "^shard takes 0 to"),
        ({"shard": "a"}, "^shard takes a whole number"),
        ({"shard": None}, "^shard takes a whole number"),
        ({"shard": 0.5}, "^shard takes a whole number"),
        ({"num_shards": "a"}, "^num_shards takes a whole number"),
        ({"num_shards": None}, "^num_shards takes a whole number"),
        ({"num_shards": 1.5}, "^num_shards takes a whole number"),
        ({"num_shards": 0}, "^num_shards takes 1 to"),
        ({"instruction_sampling": None}, "instruction_sampling takes a Sampling"),
        ({"instruction_sampling": 5}, "instruction_sampling takes a Sampling"),
        ({"instruction_sampling": {"top_p": 2}}, "^instruction_sampling: top_p takes"),
        ({"response_sampling": {"max_new_tokens": 9}}, "max_new_tokens; known are .*max_tokens"),
    ],
    ids=itertools.count(),
)
def test_attributes_that_cannot_work(options, said):
    with pytest.raises(InvalidInputError, match=said):
        Magpie(**options)


def test_sampling_may_be_a_mapping():
    magpie = Magpie(instruction_sampling={"temperature": 1.2})
    assert magpie == Magpie(instruction_sampling=Sampling(temperature=1.2))
    assert Magpie(instruction_sampling={}, response_sampling={}) == Magpie()


def test_models_may_be_any_list_of_names():
    same = [Magpie(models=given) for given in (["m", "n"], ("m", "n"), iter(["m", "n"]))]
    assert [magpie.models for magpie in same] == [("m", "n")] * 3


@pytest.mark.parametrize("number", [-1, True, 2.0, None, -(10**5000)], ids=range(5))
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


@pytest.mark.parametrize("rows", [5, None])
async def test_rows_that_are_no_iterable(rows):
    with pytest.raises(InvalidInputError, match=r"^rows takes an iterable of mappings, not"):
        await process(Magpie(), rows)


async def process_until_error(rows, error, answer=say):
    """The rows that are given before an error."""
    given = []

    async def take():
        async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
            async for row in Magpie().process(rows, dria):
                given.append(row)

    with pytest.raises(error) as caught:
        await take()
    return given, str(caught.value)


@pytest.mark.parametrize("wrong", ["text", {"system_prompt": ""}, {"system_prompt": 5}])
async def test_rows_before_one_that_cannot_work_are_given(wrong):
    rows = [*({"id": n} for n in range(250)), wrong, {"id": 251}]
    given, said = await process_until_error(rows, InvalidInputError)
    assert [row["id"] for row in given] == list(range(250))
    assert all(row["instruction"] for row in given)
    assert said.startswith("row 250")


async def test_rows_before_an_error_of_their_iterator_are_given():
    def rows():
        for number in range(400):
            yield {"id": number}
        raise LookupError("the file ends here")

    async def rows_async():
        for row in rows():
            yield row

    for given_rows in (rows(), rows_async()):
        given, said = await process_until_error(given_rows, LookupError)
        assert [row["id"] for row in given] == list(range(400))
        assert said == "the file ends here"


# Engines that take not everything


def knows_no_system_prompt(request):
    if request.open_user_turn and request.messages[0].role == "system":
        return UnsupportedError("the family knows no system prompt")
    return say(request)


async def test_a_rows_own_prompt_that_the_model_does_not_take_costs_that_row_alone():
    rows = [{"id": n, "system_prompt": "Own."} if n % 3 == 0 else {"id": n} for n in range(30)]
    made = await process(Magpie(), rows, knows_no_system_prompt)
    assert [row["id"] for row in made] == list(range(30))
    errors = [row["metadata"]["error"] for row in made]
    reason = "UnsupportedError: the family knows no system prompt"
    assert errors == [None if n % 3 else reason for n in range(30)]
    assert [row["instruction"] for row in made] == ["Q1" if n % 3 else None for n in range(30)]


async def test_whether_prompts_are_taken_at_all_is_asked_once_and_for_one_token():
    caps = []

    def answer(request):
        caps.append(request.sampling.max_tokens)
        return knows_no_system_prompt(request)

    rows = await process(Magpie(only_instruction=True), [{"system_prompt": "Own."}] * 9, answer)
    assert len(rows) == 9
    assert caps.count(512) == 9
    assert caps.count(1) == 1


async def test_an_engine_that_takes_no_raw_prompts_ends_it_though_each_row_has_its_own():
    def answer(request):
        return UnsupportedError("no raw prompts") if request.open_user_turn else say(request)

    rows = [{"system_prompt": "Own."}] * 20
    assert await process_until_error(rows, UnsupportedError, answer) == ([], "no raw prompts")


async def test_the_attributes_prompt_that_the_model_does_not_take_ends_it_before_any_row():
    engine = ScriptedEngine(knows_no_system_prompt)
    async with Dria(nodes=[Node(engine)]) as dria:
        made = Magpie(system_prompt="Be kind.").process([{}] * 20, dria)
        with pytest.raises(UnsupportedError, match="knows no system prompt"):
            await anext(made)


async def test_a_check_that_fails_for_another_reason_costs_no_other_row():
    def answer(request):
        if request.sampling.max_tokens == 1:
            return EndpointError("busy", 503)
        return knows_no_system_prompt(request)

    rows = await process(Magpie(), [{"system_prompt": "Own."}, {}], answer)
    assert [row["instruction"] for row in rows] == [None, "Q1"]


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


SEEDS = [*range(20), 2**31 - 1, *(n + 2**power for n in range(3) for power in (31, 32, 40, 62))]


async def test_other_seeds_begin_elsewhere_however_large_they_are():
    first = [Magpie(seed=seed).task(0, SystemPrompt()) for seed in [*SEEDS, 2**63 - 1]]
    begin = {task.workflow.tasks[0].sampling.seed for task in first}
    assert len(begin) == len(SEEDS) + 1
    assert all(0 <= seed < 2**31 for seed in begin)


@pytest.mark.parametrize("seed", SEEDS[-13:])
async def test_calls_of_a_job_share_no_seed_wherever_it_begins(seed):
    parts = [
        await generate(MagpieGenerator(num_rows=3, n_turns=2, seed=seed, shard=n, num_shards=2))
        for n in range(2)
    ]
    drawn = [number for part in parts for number in seeds(part)]
    assert len(set(drawn)) == 24
    assert all(0 <= number < 2**31 for number in drawn)
