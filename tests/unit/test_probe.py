from __future__ import annotations

import pytest

from dria_magpie.engines.prompts.families import find_family
from dria_magpie.engines.prompts.pre_query import render_open_user_turn
from dria_magpie.errors import EmptyCompletionError, EndpointError, InvalidInputError
from dria_magpie.magpie.probe import judge, probe
from dria_magpie.models import Generation
from dria_magpie.testing import ScriptedEngine


class RawEngine(ScriptedEngine):
    async def raw_prompt(self, model, messages):
        return render_open_user_turn(messages, find_family("llama3:8b"))


def faults(*texts):
    given = [t if isinstance(t, Generation) else Generation(text=t) for t in texts]
    return [item.fault for item in judge(given, "m")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("How high is the Ararat?", ""),
        ("Ne kadar yüksek, söyler misin?", ""),
        ("阿勒山有多高", ""),
        ("", "empty"),
        ("  \n", "empty"),
        ("0 1 0 1 0 1 0 1", "no language"),
        ("#### ---- !!!! ????", "no language"),
        ("Hi<|eot_id|>", "leak"),
        ("assistant: Hi", "label"),
    ],
)
def test_each_fault_has_a_name(text, fault):
    assert faults(text) == [fault]


def test_a_message_that_was_cut_off():
    assert faults(Generation(text="How do I", finish_reason="length")) == ["cut"]


def test_the_same_words_again_are_a_duplicate():
    assert faults("Why is it so?", "why   is it so", "Why is it not so?") == ["", "duplicate", ""]


async def test_a_report_counts_and_shows():
    answers = iter(["Why?", "Why?", EmptyCompletionError("nothing"), "Who are you?", "x</s>"])
    report = await probe(RawEngine(lambda _: next(answers)), "scripted", 5, seed=3)
    assert report.faults == {"duplicate": 1, "empty": 1, "leak": 1}
    assert report.usable == pytest.approx(0.4)
    assert report.examples == ["Why?", "Who are you?"]
    assert report.bad_examples["leak"] == "x</s>"
    assert "llama-3" in report.template
    assert report.prompt.endswith("<|start_header_id|>user<|end_header_id|>\n\n")
    assert report.to_dict()["usable"] == report.usable


async def test_every_instruction_is_drawn_once_with_a_seed_of_its_own():
    drawn = []
    for seed in (0, 1, 2**31, 2**63 - 1):
        engine = RawEngine(lambda _: "x</s>")
        await probe(engine, "scripted", 7, seed=seed)
        drawn += [request.sampling.seed for request in engine.requests]
        assert all(request.open_user_turn for request in engine.requests)
    assert len(drawn) == len(set(drawn)) == 28


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5])
async def test_a_seed_out_of_its_range(seed):
    with pytest.raises(InvalidInputError, match=r"^seed takes"):
        await probe(RawEngine(lambda _: "Why?"), "scripted", 1, seed=seed)


async def test_an_engine_that_does_not_answer_is_told_of():
    with pytest.raises(EndpointError):
        await probe(RawEngine(lambda _: EndpointError("down")), "scripted", 3)


async def test_a_known_familys_prompt_is_compared_with_the_table():
    report = await probe(RawEngine(lambda _: "Why?"), "llama3:8b", 1)
    assert report.check == "the prompt from the known family llama-3 is as in llama-3"
    assert (await probe(RawEngine(lambda _: "Why?"), "unheard-of", 1)).check == ""
