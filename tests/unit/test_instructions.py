from __future__ import annotations

from itertools import pairwise

import pytest

from dria_magpie import Dria, Node, Task
from dria_magpie.engines.chat.payload import make_body
from dria_magpie.errors import EmptyCompletionError, EndpointError, InstructionError
from dria_magpie.factory import SelfSynthesis
from dria_magpie.models import Generation, GenerationRequest, Message, Sampling
from dria_magpie.node.instructions import MOST_ATTEMPTS, find_fault, generate_instruction
from dria_magpie.testing import ScriptedEngine

PROMPT = "You are a helpful assistant that answers questions about birds and their nests."


def fault_of(text, *, finish_reason="stop", system=None):
    messages = (Message("system", system),) if system else ()
    request = GenerationRequest(model="m", messages=(*messages, Message("user", "")))
    fault = find_fault(Generation(text=text, finish_reason=finish_reason), request)
    return fault.kind if fault else ""


@pytest.mark.parametrize(
    "text",
    [
        "How do swallows build their nests?",
        "Write a function `f(x) -> x | None` in Python 3.12.",
        "What does <b>bold</b> do, and what is a <div>?",
        "Is 3 < 4 | 5 > 2 true?",
        "I am a user of Linux. My assistant says: no. Why?",
        "Compare these models: GPT-2, BERT.",
        "你好吗, ni hao?",
        "Why does Qwen write `<think>` before an answer?",
        "Fix this:\n```\nfor i in range(10):\n    print(i)\n```",
        "?",
        "Is `a[0]` the first item of a list? And what is [link](https://x.org)?",
        "Why is <div|span> no tag, and <div| neither?",
        "<b>Bold</b>, <i>slanted</i>, <br/>, <input type='text'>, <p>, <User>: which are tags?",
        "Explain `x |> f <| y`, `f <|> g` and [|1; 2|] in F#.",
        "What is <0|1> of two states, and |psi><psi|?",
        "How do List<AI> and Map<String, human> differ?",
        "Write a letter to [YOUR_NAME] from [CITY], dated [DATE].",
        "What does [MASK] stand for in BERT? And [CLS]?",
        "A table:\n| a | b |\n|---|---|\n| 1 | 2 |",
        "Which of these can log in?\n- user\n- admin\n1. system",
        "Fix this:\n```yaml\nservices:\n  web:\n    user: root\n    model: x\n```\nThanks!",
        "## Task\nSum up: the bot said hello to the user.",
        "if a < b || c > d: pass",
        "Sort `std::vector<int>`, please.",
        "\ufeffWhat is a byte order mark?",
        "👍",
    ],
)
def test_what_a_user_could_have_written(text):
    assert fault_of(text) == ""
    assert fault_of(text, system=PROMPT) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Hello<|im_end|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nSure!",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "Tell me a joke.</s>",
        "[/INST] Sure",
        "What? <end_of_turn>",
        "<<SYS>> be kind",
        "Hi\n### Response: Sure",
        "<think>\nThe user wants a joke.\n</think>\n\nTell me a joke.",
        "The user wants a joke.</think>Tell me a joke.",
        "<think>The user",
        "<Thinking >Hm.</Thinking >Hi",
        "[THINK]Hm.[/THINK]Hi",
        "\u25c1think\u25b7Hm.\u25c1/think\u25b7Hi",
        "[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT]",
        "Hi [/SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS] []",
        "[gMASK] Hi",
        "<sop> Hi",
        "[gMASK]<sop>Hi",
        "<unused5>",
        "<reserved_106>Hi",
        "<BOS_TOKEN>Hi",
        "Hi <AI> Hello",
        "<\uff5c用户\uff5c>你好",
        "<\uff5cUser\uff5c>Hi",
        "Hi[|endofturn|]",
        "[|assistant|]Sure",
        "Tell me a joke.<|im_end",
        "Tell me a joke.<|im_end|",
        "Tell me a joke.<|eot_id\n",
        "Tell me a joke.<end_of_turn",
        "<|turn>user\nHi<turn|>",
        "<human>: Hi",
        "<|reserved_special_token_12|>",
    ],
)
def test_what_a_chat_template_left_in_the_text(text):
    assert fault_of(text) == "leak"


def test_thoughts_that_an_engine_took_out_of_a_users_message_are_a_fault_too():
    asked = GenerationRequest(model="m", messages=(Message("user", ""),), open_user_turn=True)
    fault = find_fault(Generation(text="Tell me a joke.", reasoning="Hm."), asked)
    assert fault.kind == "leak"
    assert "thoughts" in fault.reason


@pytest.mark.parametrize(
    "text",
    [
        "user: Hi",
        "Hi there!\nassistant\nHello",
        "**Assistant:** Sure",
        "Human: hi",
        "ASSISTANT: x",
        "GPT4 Correct User: Hi",
        "Hi\nGPT4 Correct Assistant: Hello",
        "### User: Hi",
        "### Assistant\nHello",
        "system",
    ],
)
def test_role_labels(text):
    assert fault_of(text) == "label"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("llama2:7b-chat", "Hi <</SYS>>"),
        ("gemma2:9b", "Hi <bos>"),
        ("vicuna:13b", "USER: Hi"),
        ("deepseek-coder-v2:16b", "<|EOT|>"),
        ("mistral:7b", "[INST]"),
    ],
)
def test_tokens_and_labels_of_the_models_own_family(model, text):
    request = GenerationRequest(model=model, messages=(Message("user", ""),))
    assert find_fault(Generation(text=text), request) is not None
    assert find_fault(Generation(text="Is <b> a tag of [HTML]?"), request) is None


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff", "\x00", "\u2060 \u3164\n\u00ad"])
def test_a_text_in_which_nothing_is_seen_is_empty(text):
    assert fault_of(text) == "empty"


def test_a_message_that_was_cut_off():
    assert fault_of("How do I", finish_reason="length") == "cut"


@pytest.mark.parametrize(
    "text",
    [
        "answers questions about birds and their nests.",
        "You are a helpful assistant that answers questions about birds",
        ", and you never lie about what you know of them.",
    ],
)
def test_a_text_that_goes_on_with_the_system_prompt(text):
    assert fault_of(text, system=PROMPT) == "system prompt"
    assert fault_of(text) == ""


async def synthesize(answer, **options):
    engine = ScriptedEngine(answer)
    graph = SelfSynthesis().workflow(instruction_sampling=Sampling(seed=7), **options)
    async with Dria(nodes=[Node(engine)]) as dria:
        return await dria.execute(Task(workflow=graph)), engine


async def test_a_bad_instruction_is_tried_again_with_another_seed():
    answers = iter(["<|im_end|>", Generation(text="How", finish_reason="length"), "Why?", "So."])
    result, engine = await synthesize(lambda _: next(answers))
    assert SelfSynthesis().parse_result(result)["conversation"] == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
    ]
    seeds = [request.sampling.seed for request in engine.requests][:3]
    assert len(set(seeds)) == 3
    assert result.turns[0].attempts == 3
    # Whoever wants the message again needs the seed that it came from.
    assert result.turns[0].seed == seeds[2]


EMPTY = ["", " \n", "\u200b", EmptyCompletionError("answered with nothing")]


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
async def test_an_empty_instruction_is_drawn_again_like_any_other(empty):
    answers = iter([empty, empty, "Why?", "So."])
    result, engine = await synthesize(lambda _: next(answers))
    assert [turn.text for turn in result.turns] == ["Why?", "So."]
    assert result.turns[0].attempts == 3
    assert result.turns[0].seed == engine.requests[2].sampling.seed != 7


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
async def test_nothing_but_empty_instructions_end_after_as_many_attempts(empty):
    engine = ScriptedEngine(lambda request: empty if request.open_user_turn else "ok")
    async with Dria(nodes=[Node(engine)]) as dria:
        with pytest.raises(InstructionError, match=r"in 5 attempts; of the last one: it is empty"):
            await dria.execute(Task(workflow=SelfSynthesis().workflow()))
    assert engine.calls == MOST_ATTEMPTS


async def test_an_error_of_the_engine_is_no_draw():
    engine = ScriptedEngine(lambda _: EndpointError("down"))
    async with Dria(nodes=[Node(engine)]) as dria:
        with pytest.raises(EndpointError):
            await dria.execute(Task(workflow=SelfSynthesis().workflow()))
    assert engine.calls == 1


async def test_attempts_are_bounded_and_the_reason_is_told():
    with pytest.raises(InstructionError, match=r"in 5 attempts; of the last one: it has '</s>'"):
        await synthesize(lambda _: "x</s>")
    engine = ScriptedEngine(lambda _: "x</s>")
    async with Dria(nodes=[Node(engine)]) as dria:
        [result] = await dria.execute([Task(workflow=SelfSynthesis().workflow())])
    assert isinstance(result.error, InstructionError)
    assert result.turns == ()
    assert engine.calls == MOST_ATTEMPTS


@pytest.mark.parametrize("seed", [0, 7, 2**30, 2**31 - 1])
async def test_no_seed_is_drawn_by_twice_in_a_job_of_a_hundred_million_calls(seed):
    bodies = []

    async def generate(request):
        # Those that an engine goes through itself, where an answer of the same seed is empty
        bodies.extend(make_body(request, empty=empty) for empty in range(3))
        return Generation(text="</s>")

    asked = GenerationRequest(
        model="m", messages=(Message("user", ""),), sampling=Sampling(seed=seed)
    )
    with pytest.raises(InstructionError):
        await generate_instruction(generate, asked)
    seeds = sorted(body["seed"] for body in bodies)
    assert len(seeds) == 3 * MOST_ATTEMPTS
    assert bodies[0]["seed"] == seed
    # A job's seeds follow one another: it has as many as the shortest way from one leap to another
    ways = [after - before for before, after in pairwise([*seeds, seeds[0] + 2**31])]
    assert min(ways) > 143_000_000


async def test_without_a_seed_the_engine_goes_on_choosing_them():
    engine = ScriptedEngine(lambda _: "</s>")
    async with Dria(nodes=[Node(engine)]) as dria:
        await dria.execute([Task(workflow=SelfSynthesis().workflow())])
    assert {request.sampling.seed for request in engine.requests} == {None}


async def test_answers_are_not_judged():
    result, _ = await synthesize(
        lambda request: "Why?" if request.open_user_turn else "<|im_end|> assistant: so"
    )
    assert result.turns[1].text.startswith("<|im_end|>")
