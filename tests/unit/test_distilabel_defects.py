"""What goes wrong in distilabel 1.5.3, and not here; docs/distilabel.md has the list."""

from __future__ import annotations

import itertools

import pytest

from dria_magpie import InvalidInputError
from dria_magpie.engines.prompts.pre_query import render_open_user_turn
from dria_magpie.errors import EndpointError, InstructionError
from dria_magpie.magpie import Magpie, MagpieGenerator
from tests.unit.chat_templates import TEMPLATES
from tests.unit.raw_prompts import WITH_SYSTEM, WITHOUT_SYSTEM, prompt
from tests.unit.rows import PAIR, ask, generate, process, roles, say, say_by_seed, seeds

SAID = ["Hi", "Yes?", "Oh", "Ah", "Why?", "So."]


# 1: the prompt of a user's turn


@pytest.mark.parametrize(
    ("name", "bos", "answer_header"),
    [
        ("llama-3", "<|begin_of_text|>", "<|start_header_id|>assistant"),
        ("qwen-2.5", "", "<|im_start|>assistant"),
    ],
)
@pytest.mark.parametrize("system", [None, "Be brief."])
async def test_a_users_turn_is_opened_without_an_empty_answer_or_a_second_beginning(
    name, bos, answer_header, system
):
    answers = iter(SAID)
    requests = await ask(Magpie(n_turns=3), [{"system_prompt": system}], lambda _: next(answers))
    opened = [request.messages for request in requests if request.open_user_turn]
    texts = [render_open_user_turn(messages, TEMPLATES[name]).text for messages in opened]
    marked = (WITH_SYSTEM if system else WITHOUT_SYSTEM)[name]
    assert texts == [prompt(marked, turn) for turn in (1, 2, 3)]
    assert [text.count(answer_header) for text in texts] == [0, 1, 2]
    if bos:
        assert [text.count(bos) for text in texts] == [1, 1, 1]


# 2: calls that fail


async def test_no_answer_is_written_for_a_user_who_said_nothing():
    asked = []

    def answer(request):
        asked.append(request.open_user_turn)
        return EndpointError("broken", 400)

    [row] = await process(Magpie(n_turns=2), [{}], answer)
    assert row["conversation"] == []
    assert asked == [True]


async def test_no_user_speaks_twice_where_an_answer_failed():
    asked = []

    def answer(request):
        asked.append(request.open_user_turn)
        return say(request) if request.open_user_turn else EndpointError("broken", 400)

    [row] = await process(Magpie(n_turns=2), [{}], answer)
    assert row["conversation"] == []
    assert asked == [True, False]
    assert row["metadata"]["error"] == "EndpointError: broken"


@pytest.mark.parametrize("failing", range(4))
async def test_a_failure_at_any_call_ends_the_row_and_leaves_no_roles_out_of_order(failing):
    calls = itertools.count()

    def answer(request):
        return EndpointError("broken", 400) if next(calls) == failing else say(request)

    [row] = await process(Magpie(n_turns=2), [{}], answer)
    assert row["conversation"] == []
    assert len(row["metadata"]["input_tokens"]) == failing
    assert next(calls) == failing + 1


async def test_a_failed_row_keeps_its_counts_and_leaves_the_others_whole():
    def answer(request):
        failing = request.messages[0].content == "Fail." and len(request.messages) == 4
        return EndpointError("broken", 400) if failing else say(request)

    given = [{"system_prompt": text} for text in ("Go.", "Fail.", "Go.")]
    rows = await process(Magpie(n_turns=2), given, answer)
    assert [roles(row) for row in rows] == ["uaua", "", "uaua"]
    assert [len(row["metadata"]["input_tokens"]) for row in rows] == [4, 2, 4]


# 3: columns


@pytest.mark.parametrize("kind", [Magpie, MagpieGenerator])
@pytest.mark.parametrize("system_prompt", [None, "Be kind.", PAIR])
async def test_rows_have_the_columns_that_outputs_names_whatever_the_attributes(
    kind, system_prompt
):
    switches = ["only_instruction", "end_with_user", "include_system_prompt"]
    for n_turns, *chosen in itertools.product([1, 2], *[[False, True]] * 3):
        options = {**dict(zip(switches, chosen, strict=True)), "n_turns": n_turns}
        options["system_prompt"] = system_prompt
        if kind is Magpie:
            magpie = Magpie(**options)
            rows = await process(magpie, [{}])
            rows += await process(magpie, [{}], lambda _: EndpointError("broken", 400))
        else:
            magpie = MagpieGenerator(num_rows=2, **options)
            rows = await generate(magpie)
        assert [list(row) for row in rows] == [[*magpie.outputs, "metadata"]] * 2, options


async def test_one_turn_that_ends_with_the_user_has_a_response_of_none():
    [row] = await process(Magpie(end_with_user=True), [{}])
    assert (row["instruction"], row["response"]) == ("Q1", None)
    assert row["metadata"]["error"] is None


async def test_one_turn_with_its_system_prompt_has_instruction_and_response():
    [row] = await process(Magpie(system_prompt="Be kind.", include_system_prompt=True), [{}])
    assert (row["instruction"], row["response"]) == ("Q2", "A2")


# 4: numbers of rows


@pytest.mark.parametrize("slots", [1, 5, 50])
@pytest.mark.parametrize("number", [0, 1, 12, 50, 120])
async def test_there_are_exactly_as_many_rows_as_were_asked_for(number, slots):
    calls = 0

    def answer(request):
        nonlocal calls
        calls += 1
        return say(request)

    rows = await generate(MagpieGenerator(num_rows=number), answer, slots=slots)
    assert len(rows) == number
    assert calls == 2 * number


@pytest.mark.parametrize("number", [1, 12, 50, 120])
async def test_there_are_exactly_as_many_rows_though_every_fifth_fails(number):
    def answer(request):
        return EndpointError("broken", 500) if request.sampling.seed % 10 == 0 else say(request)

    rows = await generate(MagpieGenerator(num_rows=number), answer)
    assert len(rows) == number
    assert len(set(seeds(rows))) == len(seeds(rows)) == 2 * number
    assert all(row["metadata"]["error"] is None for row in rows)


# 5: keys


async def test_keys_stay_with_their_rows_where_some_have_prompts_of_their_own():
    given = [{"system_prompt": "Own."} if n % 3 == 0 else {} for n in range(30)]
    given[6] = {"system_prompt": None}
    rows = await process(
        Magpie(system_prompt=PAIR), given, lambda request: request.messages[0].content or "Nobody."
    )
    for number, row in enumerate(rows):
        key = row["system_prompt_key"]
        if number % 3 == 0:
            assert key is None
            assert row["instruction"] == ("Nobody." if number == 6 else "Own.")
        else:
            assert row["instruction"] == PAIR[key]
    assert {row["system_prompt_key"] for row in rows} == {None, *PAIR}


# 6: weights


def test_ten_weights_of_a_tenth_are_taken():
    Magpie(system_prompt={str(number): ("x", 0.1) for number in range(10)})


@pytest.mark.parametrize("empty", [{}, []])
def test_empty_system_prompts_are_refused_in_plain_words(empty):
    with pytest.raises(InvalidInputError, match=r"system_prompt takes .* at least one"):
        Magpie(system_prompt=empty)


# 7: attributes without effect


@pytest.mark.parametrize(
    "name",
    [
        "num_generations",
        "group_generations",
        "add_raw_input",
        "add_raw_output",
        "use_default_structured_output",
        "input_batch_size",
        "batch_size",
    ],
)
@pytest.mark.parametrize("kind", [Magpie, MagpieGenerator])
def test_an_attribute_that_would_do_nothing_is_refused(kind, name):
    with pytest.raises(TypeError, match=name):
        kind(**{name: 1})


async def test_a_row_that_is_given_three_times_has_three_conversations():
    rows = await process(Magpie(), [{"id": 1}] * 3, say_by_seed)
    assert [row["id"] for row in rows] == [1, 1, 1]
    assert len({row["instruction"] for row in rows}) == 3


# 8: texts


async def test_blanks_around_an_instruction_are_taken_off():
    [row] = await process(Magpie(), [{}], lambda _: " Why? \n\n")
    assert row["instruction"] == "Why?"


@pytest.mark.parametrize("bad", ["Why?<|eot_id|>", "user: Why?", "Why?\nassistant\nSo."])
async def test_an_instruction_with_traces_of_the_template_is_drawn_again(bad):
    answers = iter([bad, "Why?", "So."])
    [row] = await process(Magpie(), [{}], lambda _: next(answers))
    assert (row["instruction"], row["response"]) == ("Why?", "So.")


@pytest.mark.parametrize("empty", ["", " \n"])
@pytest.mark.parametrize("open_user_turn", [True, False])
async def test_no_row_has_an_empty_text(empty, open_user_turn):
    def answer(request):
        empties = request.open_user_turn == open_user_turn and request.sampling.seed % 4 < 2
        return empty if empties else say(request)

    rows = await generate(MagpieGenerator(num_rows=9), answer)
    assert len(rows) == 9
    assert all(row["instruction"].strip() and row["response"].strip() for row in rows)
    [row] = await process(Magpie(), [{}], lambda _: empty)
    assert (row["instruction"], row["response"]) == (None, None)
    assert row["metadata"]["error"].startswith(InstructionError.__name__)


async def test_no_two_calls_have_a_seed_in_common():
    rows = await generate(MagpieGenerator(num_rows=50, n_turns=2, seed=3))
    assert len(set(seeds(rows))) == 200


# 9: more of the same


@pytest.mark.parametrize("options", [{}, {"n_turns": 2}, {"system_prompt": PAIR}])
async def test_more_rows_begin_with_the_same_ones(options):
    fewer = MagpieGenerator(num_rows=5, seed=7, **options)
    more = fewer.evolve(num_rows=10)
    first, second = await generate(fewer, say_by_seed), await generate(more, say_by_seed)
    assert len(second) == 10
    assert second[:5] == first
    # How many rows are made at once is no part of them, either.
    assert await generate(more, say_by_seed, slots=1) == second


async def test_more_rows_begin_with_the_same_ones_though_some_fail():
    def answer(request):
        return (
            EndpointError("broken", 400) if request.sampling.seed % 6 == 0 else say_by_seed(request)
        )

    fewer = MagpieGenerator(num_rows=5, seed=7)
    first = await generate(fewer, answer)
    assert (await generate(fewer.evolve(num_rows=10), answer))[:5] == first
