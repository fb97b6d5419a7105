"""Open user turns at endpoints: what is found out first, what is sent, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from aiohttp import web

from dria_magpie import Dria, Node, Task
from dria_magpie.engines import OpenAIEngine
from dria_magpie.engines.chat.client import ChatClient
from dria_magpie.engines.chat.failures import LostConnectionError
from dria_magpie.engines.chat.retry import RetryPolicy
from dria_magpie.errors import (
    DrainedError,
    EmptyCompletionError,
    EndpointError,
    InstructionError,
    InvalidInputError,
    UnsupportedError,
)
from dria_magpie.factory import SelfSynthesis
from dria_magpie.magpie import MagpieGenerator
from dria_magpie.models import GenerationRequest, Message, Sampling
from dria_magpie.node.instructions import MOST_ATTEMPTS
from tests.integration.raw_servers import (
    CHATML,
    LLAMA_3,
    RawServer,
    chatml,
    llama_server,
    ollama,
    talk,
    talk_chatml,
    tiny,
    turn,
    vllm,
)

BOS = "<|begin_of_text|>"
LLAMA = "meta-llama/Meta-Llama-3-8B-Instruct"
LLAMA_STOP = ["<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
KEY = "sk-secret"
COUNTS = 2
SOON = RetryPolicy(attempts=8, wait=0.0)


def request(*history, model="llama3:8b", **sampling):
    messages = (*history, Message("user", ""))
    return GenerationRequest(
        model=model,
        messages=messages,
        sampling=Sampling(**{"seed": 7, "max_tokens": 40, **sampling}),
        open_user_turn=True,
    )


def engine_for(server, **options) -> OpenAIEngine:
    return OpenAIEngine(server.url, **{"models": ["llama3:8b"], "retry": SOON, **options})


async def ask(server, asked=None, **options):
    """The answer of an endpoint that runs already, an error too."""
    engine = engine_for(server, **options)
    try:
        return await engine.generate(asked or request())
    except Exception as error:  # noqa: BLE001
        return error
    finally:
        await engine.aclose()


async def draw(server, generator, **options):
    """Rows, and the error that ended them."""
    rows, error = [], None
    async with Dria(nodes=[Node(engine_for(server, **options))]) as dria:
        try:
            rows = [row async for row in generator.generate(dria)]
        except Exception as caught:  # noqa: BLE001
            error = caught
    return rows, error


async def converse(server, workflow, **options):
    async with Dria(nodes=[Node(engine_for(server, **options))]) as dria:
        [result] = [result async for result in dria.stream([Task(workflow=workflow)])]
    return result


def synthesis(system=None, turns=1, seed=7, **options):
    return SelfSynthesis().workflow(
        system,
        turns,
        instruction_sampling=Sampling(seed=seed, **options),
        response_sampling=Sampling(seed=seed),
    )


def write_config(folder: Path, template=CHATML, bos=None, eos="<|im_end|>") -> Path:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({"bos_token": bos, "eos_token": eos, "chat_template": template}))
    return path


# Prompts, byte for byte


@pytest.mark.parametrize("bos", [BOS, ""], ids=["the server adds it", "the prompt has it"])
@pytest.mark.parametrize("system", [None, "Be brief."])
async def test_prompts_of_a_known_name_begin_once_and_end_open(bos, system):
    async with RawServer(models=[LLAMA], bos=bos) as server:
        result = await converse(server, synthesis(system, turns=2), models=[LLAMA])
    assert result.error is None
    head = ("" if bos else BOS) + (turn("system", system) if system else "")
    first = head + turn("user")
    second = head + turn("user", "What is 7?") + turn("assistant", "It is 8.") + turn("user")
    assert [call.prompt for call in server.raw] == [first, second]
    for call in server.raw:
        assert call.tokens.count(BOS) == 1
        assert call.tokens[0] == BOS
    assert json.loads(result.result) == ["What is 7?", "It is 8.", "What is 9?", "It is 10."]


@pytest.mark.parametrize("writes_bos", [True, False], ids=["template with", "template without"])
@pytest.mark.parametrize("adds_bos", [True, False], ids=["server with", "server without"])
async def test_the_file_of_a_template_decides_on_an_unknown_name(tmp_path, adds_bos, writes_bos):
    template = "{{ bos_token }}" * writes_bos + CHATML
    path = write_config(tmp_path, template, bos="<s>")
    server = RawServer(models=["mine"], bos="<s>" * adds_bos, opening=chatml, writes=talk_chatml)
    async with server:
        result = await converse(
            server, synthesis("Be brief.", turns=2), models=["mine"], chat_template=str(path)
        )
    assert result.error is None
    head = "<s>" * (writes_bos and not adds_bos) + chatml("system", "Be brief.")
    second = chatml("user", "What is 7?") + chatml("assistant", "It is 8.")
    assert [call.prompt for call in server.raw] == [
        head + chatml("user"),
        head + second + chatml("user"),
    ]
    for call in server.raw:
        assert call.tokens.count("<s>") == (adds_bos or writes_bos)
        assert call.body["stop"][0] == "<|im_end|>"
    assert [turn.text for turn in result.turns][::2] == ["What is 7?", "What is 9?"]


async def test_a_template_that_is_given_comes_before_the_name_and_before_what_the_server_tells(
    tmp_path,
):
    async with llama_server(opening=chatml, writes=talk_chatml) as server:
        generation = await ask(server, chat_template=write_config(tmp_path))
    assert [call.prompt for call in server.raw] == [chatml("user")]
    assert generation.text == "What is 7?"


async def test_the_body_of_a_raw_call():
    asked = request(temperature=0.9, top_p=0.8, stop=["\n\n\n"], repetition_penalty=1.1)
    async with vllm() as server:
        await ask(server, asked, api_key=KEY)
    [call] = server.raw
    assert call.path == "/v1/completions"
    body = dict(call.body)
    assert body.pop("prompt") == turn("user")
    assert body.pop("stop")[:5] == ["\n\n\n", *LLAMA_STOP]
    expected = {
        "model": "llama3:8b",
        "max_tokens": 40,
        "seed": 7,
        "temperature": 0.9,
        "top_p": 0.8,
        "repetition_penalty": 1.1,
        "repeat_penalty": 1.1,
    }
    assert {name: body[name] for name in expected} == expected
    assert not {"messages", "stream", "open_user_turn"} & set(body)
    assert {call.headers["Authorization"] for call in server.calls} == {f"Bearer {KEY}"}


async def test_rows_have_their_own_seeds_and_stripped_instructions():
    generator = MagpieGenerator(num_rows=3, n_turns=2, seed=1, system_prompt="Be brief.")
    async with vllm() as server:
        rows, error = await draw(server, generator)
    assert error is None
    assert len(rows) == 3
    sent = sorted(call.body["seed"] for call in [*server.raw, *server.chats])
    assert sent == sorted(seed for row in rows for seed in row["metadata"]["seeds"])
    assert len(set(sent)) == 12
    for row in rows:
        seeds = row["metadata"]["seeds"]
        assert [m["content"] for m in row["conversation"]] == [
            f"What is {seeds[0]}?",
            f"It is {seeds[1]}.",
            f"What is {seeds[2]}?",
            f"It is {seeds[3]}.",
        ]
    for call in server.raw:
        assert call.prompt.startswith(turn("system", "Be brief.") + turn("user"))
        assert set(call.body["stop"]) >= set(LLAMA_STOP)
        assert call.cap == 512
        assert call.tokens.count(BOS) == 1


async def test_instructions_have_a_cap_where_the_server_has_a_low_one_of_its_own():
    long = " ".join(f"word{n}" for n in range(100))
    async with vllm(writes=lambda _: f"{long}?<|eot_id|>") as server:
        rows, error = await draw(server, MagpieGenerator(num_rows=1, only_instruction=True))
    assert error is None
    assert rows[0]["instruction"] == f"{long}?"
    assert len(server.raw) == 1


async def test_tokens_are_counted_as_the_server_does():
    async with vllm() as server:
        generation = await ask(server)
    [call] = server.raw
    assert generation.prompt_tokens == len(call.tokens)
    assert generation.completion_tokens > 3
    assert generation.finish_reason == "stop"
    assert generation.attempts == 1


# Endpoints that apply the chat template, or take no raw prompts


@pytest.mark.parametrize(
    ("completions", "reason", "probes"),
    [("templated", "applies the chat template", COUNTS), ("missing", "takes no raw prompts", 1)],
)
async def test_endpoints_without_raw_prompts_are_refused_before_a_row_is_paid_for(
    completions, reason, probes
):
    generator = MagpieGenerator(num_rows=50, n_turns=2)
    async with vllm(completions=completions) as server:
        rows, error = await draw(server, generator)
    assert isinstance(error, UnsupportedError)
    assert rows == []
    assert reason in str(error)
    assert "/v1/completions" in str(error)
    for instead in ("vLLM", "SGLang", "llama-server", "Ollama", "embedded model", "MagPie"):
        assert instead in str(error)
    assert server.chats == server.raw == []
    posts = [call for call in server.calls if call.method == "POST"]
    assert len(posts) == probes
    assert all(tiny(call) for call in posts)


@pytest.mark.parametrize("completions", ["templated", "missing"])
async def test_a_refused_endpoint_is_not_asked_again_for_each_call(completions):
    async with vllm(completions=completions) as server:
        engine = engine_for(server)
        errors = await asyncio.gather(
            *(engine.generate(request(seed=n)) for n in range(20)), return_exceptions=True
        )
        await engine.aclose()
    assert {type(error) for error in errors} == {UnsupportedError}
    assert server.paths["/v1/completions"] <= COUNTS


@pytest.mark.parametrize("model", ["mine", "llama3:8b"])
async def test_a_dialogue_that_cannot_be_made_names_the_reason_in_its_result(model):
    async with vllm(models=[model], completions="templated") as server:
        result = await converse(server, synthesis(), models=[model])
    assert isinstance(result.error, UnsupportedError)
    assert result.turns == ()


async def test_an_unknown_name_needs_a_template():
    async with vllm(models=["mine"]) as server:
        error = await ask(server, request(model="mine"), models=["mine"])
    assert isinstance(error, UnsupportedError)
    assert "mine" in str(error)
    for kind in ("tokenizer_config.json", ".gguf", ".jinja"):
        assert kind in str(error)
    assert server.paths["/v1/completions"] == 0


async def test_a_model_that_the_server_does_not_know_is_an_error_of_the_endpoint():
    async with ollama() as server:
        error = await ask(server, request(model="llama3:70b"))
    assert isinstance(error, EndpointError)
    assert error.status == 404
    assert "llama3:70b" in str(error)


async def test_a_model_that_vllm_does_not_know_is_not_told_to_be_a_missing_route():
    async with vllm() as server:
        error = await ask(server, request(model="llama3:70b"))
    assert "does not exist" in str(error)
    assert "takes no raw prompts" not in str(error)


@pytest.mark.parametrize("make", [vllm, ollama])
async def test_a_system_prompt_for_a_family_that_takes_none(make):
    generator = MagpieGenerator(num_rows=3, system_prompt="Be brief.")
    async with make(models=["gemma2:9b"], bos="<bos>") as server:
        rows, error = await draw(server, generator, models=["gemma2:9b"])
    assert rows == []
    assert isinstance(error, UnsupportedError)
    assert "leave the system prompt out" in str(error)
    assert server.raw == server.chats == []


async def test_a_template_that_refuses_system_prompts(tmp_path):
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no!') }}{% endif %}"
    path = write_config(tmp_path, refusing + CHATML)
    async with vllm() as server:
        asked = request(Message("system", "Be brief."))
        error = await ask(server, asked, chat_template=path)
    assert isinstance(error, UnsupportedError)
    assert "no!" in str(error)
    assert server.raw == []


async def test_a_template_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    async with vllm() as server:
        error = await ask(server, chat_template=path)
    assert isinstance(error, UnsupportedError)
    assert str(path) in str(error)
    assert server.raw == []


@pytest.mark.parametrize("text", [None, "{% if %}"], ids=["missing", "faulty"])
async def test_a_template_that_cannot_be_used_ends_the_rows_at_once(tmp_path, text):
    path = tmp_path / "tokenizer_config.json"
    if text is not None:
        write_config(tmp_path, text)
    seen = []
    async with vllm() as server, Dria(nodes=[Node(engine_for(server, chat_template=path))]) as dria:
        with pytest.raises((InvalidInputError, UnsupportedError)) as caught:
            seen += [row async for row in MagpieGenerator(num_rows=3).generate(dria)]
    assert str(path) in str(caught.value)
    assert seen == server.raw == []


# llama-server


@pytest.mark.parametrize("bos", [BOS, ""], ids=["the server adds it", "the prompt has it"])
async def test_llama_server_is_asked_for_its_template(bos):
    async with llama_server(models=["mine"], bos=bos) as server:
        result = await converse(server, synthesis(turns=2), models=["mine"])
    assert result.error is None
    head = "" if bos else BOS
    talked = turn("user", "What is 7?") + turn("assistant", "It is 8.")
    assert [c.prompt for c in server.raw] == [head + turn("user"), head + talked + turn("user")]
    assert {call.tokens.count(BOS) for call in server.raw} == {1}
    assert all("<|eot_id|>" in call.body["stop"] for call in server.raw)
    assert server.paths["/props"] == 1


async def test_the_template_of_llama_server_comes_before_the_name():
    props = {"chat_template": CHATML, "bos_token": "", "eos_token": "<|im_end|>"}
    server = llama_server(bos="", props=props, opening=chatml, writes=talk_chatml)
    async with server:
        assert (await ask(server)).text == "What is 7?"
    assert [call.prompt for call in server.raw] == [chatml("user")]


@pytest.mark.parametrize("props", [{}, {"chat_template": ""}, {"chat_template": None}, []])
async def test_props_without_a_template_leave_it_to_the_name(props):
    async with llama_server(props=props) as server:
        await ask(server)
    assert [call.prompt for call in server.raw] == [turn("user")]


async def test_a_streamed_raw_call_is_put_together():
    async with llama_server(models=["mine"]) as server:
        client = ChatClient(server.url, stream=True, retry=SOON)
        generation = await client.generate(request(model="mine"))
        await client.aclose()
    [call] = server.raw
    assert call.body["stream"] is True
    assert generation.text.strip() == "What is 7?"
    assert generation.prompt_tokens == len(call.tokens)
    assert generation.finish_reason == "stop"


# Ollama


async def test_ollama_is_asked_in_its_own_words():
    async with ollama() as server:
        result = await converse(server, synthesis(turns=2, top_p=0.9, repetition_penalty=1.2))
    assert result.error is None
    assert [turn.text for turn in result.turns][::2] == ["What is 7?", "What is 9?"]
    assert server.paths["/v1/completions"] == 0
    assert {call.path for call in server.raw} == {"/api/generate"}
    talked = turn("user", "What is 7?") + turn("assistant", "It is 8.")
    assert [c.prompt for c in server.raw] == [turn("user"), talked + turn("user")]
    first, _ = server.raw
    assert {call.tokens.count(BOS) for call in server.raw} == {1}
    assert first.tokens == (BOS, "<|start_header_id|>", "user", "<|end_header_id|>", "\n\n")
    options = first.body.pop("options")
    assert first.body == {
        "model": "llama3:8b",
        "prompt": turn("user"),
        "raw": True,
        "stream": False,
    }
    assert options.pop("stop") == LLAMA_STOP
    assert options == {
        "temperature": 1.0,
        "top_p": 0.9,
        "num_predict": 512,
        "seed": 7,
        "repeat_penalty": 1.2,
    }
    assert result.turns[0].prompt_tokens == len(first.tokens)
    assert result.turns[0].completion_tokens > 0
    assert result.turns[0].model == "llama3:8b"


async def test_the_first_token_is_taken_off_for_ollama_also_with_a_template(tmp_path):
    path = write_config(tmp_path, LLAMA_3, bos=BOS, eos="<|eot_id|>")
    async with ollama(models=["mine"]) as server:
        asked = request(model="mine")
        assert (await ask(server, asked, models=["mine"], chat_template=path)).text
    [call] = server.raw
    assert call.prompt == turn("user")
    assert call.tokens.count(BOS) == 1


async def test_rows_from_ollama():
    async with ollama() as server:
        rows, error = await draw(server, MagpieGenerator(num_rows=5))
    assert error is None
    assert len(rows) == 5
    assert server.paths["/api/version"] == 1
    assert server.paths["/v1/completions"] == server.paths["/props"] == 0
    assert all("<|" not in row["instruction"] + row["response"] for row in rows)


async def test_an_unknown_name_at_ollama_needs_a_template():
    async with ollama(models=["mine"]) as server:
        error = await ask(server, request(model="mine"))
    assert isinstance(error, UnsupportedError)
    assert "tokenizer_config.json" in str(error)
    assert server.raw == []


async def test_an_instruction_that_ollama_cut_off_is_drawn_again():
    async with ollama(writes=cut_until(1)) as server:
        rows, error = await draw(server, only_instruction(max_tokens=8))
    assert error is None
    assert len(server.raw) == 2
    assert rows[0]["instruction"] == "Short?"


# Servers that do not say how many tokens there are


@pytest.mark.parametrize("completions", ["raw", "templated"])
@pytest.mark.parametrize("count", [0, 12])
async def test_without_a_true_count_of_tokens_nothing_tells_whether_prompts_are_raw(
    count, completions
):
    async with vllm(count=count, completions=completions) as server:
        rows, error = await draw(server, MagpieGenerator(num_rows=4))
    assert rows == []
    assert isinstance(error, UnsupportedError)
    assert f"usage.prompt_tokens is {count}" in str(error)
    assert "vLLM" in str(error)
    assert server.raw == server.chats == []
    assert server.paths["/v1/completions"] == COUNTS


# Servers that put more than one token before a prompt

GLM = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.mark.parametrize("writes", [GLM, GLM.removeprefix("[gMASK]<sop>")], ids=["too", "alone"])
async def test_two_tokens_before_every_prompt_are_no_chat_template(tmp_path, writes):
    path = write_config(tmp_path, writes, eos="<|endoftext|>")
    async with RawServer(models=["glm"], bos="[gMASK]<sop>") as server:
        answer = await ask(server, request(model="glm"), models=["glm"], chat_template=path)
    assert answer.text
    [call] = server.raw
    assert call.prompt == "<|user|>\n"
    assert call.tokens[:3] == ("[gMASK]", "<sop>", "<|user|>")


@pytest.mark.parametrize("bos", ["", "<s>"])
async def test_the_shortest_of_chat_templates_is_still_one(tmp_path, bos):
    template = "{% for m in messages %}<user>{{ m.content }}<assistant>{% endfor %}"
    path = write_config(tmp_path, template)
    server = vllm(bos=bos, completions="templated", opening=lambda role, text="": f"<{role}>{text}")
    async with server:
        error = await ask(server, chat_template=path)
    assert isinstance(error, UnsupportedError)
    assert "applies the chat template" in str(error)


# Models that are not there


async def test_a_name_that_the_endpoint_does_not_list_is_said_first():
    async with vllm(models=["llama3:8b", "qwen2.5:7b"]) as server:
        error = await ask(server, request(model="nope"), models=["nope"])
    assert isinstance(error, UnsupportedError)
    assert "does not serve 'nope'; it serves llama3:8b, qwen2.5:7b" in str(error)
    assert server.raw == []


@pytest.mark.parametrize("listed", ["mine", "mine:latest"])
async def test_a_listed_name_without_a_template_needs_one(listed):
    async with ollama(models=[listed]) as server:
        error = await ask(server, request(model="mine"))
    assert isinstance(error, UnsupportedError)
    assert "tokenizer_config.json" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, EndpointError, "answered 401"),
        (404, UnsupportedError, "not known here"),
    ],
)
async def test_where_models_are_not_listed_it_is_not_known_what_is_missing(status, kind, words):
    async with vllm(trouble={"/v1/models": [status]}) as server:
        error = await ask(server, request(model="nope"))
    assert isinstance(error, kind)
    assert words in str(error)


# Once per model


async def test_fifty_first_calls_find_out_once():
    async with vllm() as server:
        engine = engine_for(server)
        answers = await asyncio.gather(*(engine.generate(request(seed=n)) for n in range(50)))
        await engine.aclose()
    assert {a.text.strip() for a in answers} == {f"What is {n}?" for n in range(50)}
    assert server.paths == {"/api/version": 1, "/props": 1, "/v1/completions": COUNTS + 50}


async def test_each_model_is_found_out_about():
    models = ["llama3:8b", "qwen2.5:7b"]
    async with RawServer(models=models) as server:
        engine = engine_for(server, models=models)
        await asyncio.gather(*(engine.generate(request(model=models[n % 2])) for n in range(20)))
        await engine.aclose()
    assert server.paths["/v1/completions"] == 2 * COUNTS + 20
    assert [c.body["model"] for c in server.calls if c.body and tiny(c)].count(models[1]) == COUNTS


def test_an_engine_that_was_closed_finds_out_again_in_the_next_event_loop():
    server = vllm()
    server.port = free_port()
    engine = engine_for(server)

    async def run():
        async with server:
            answers = await asyncio.gather(*(engine.generate(request(seed=n)) for n in range(3)))
            await engine.aclose()
        assert [a.text.strip() for a in answers] == ["What is 0?", "What is 1?", "What is 2?"]

    asyncio.run(run())
    asyncio.run(run())
    assert server.paths["/v1/completions"] == 2 * COUNTS + 6


def test_a_loop_that_ends_while_it_finds_out_leaves_the_next_one_free():
    server = vllm()
    server.port = free_port()
    engine = engine_for(server)

    async def begin():
        async with server:
            server.gates["/v1/completions"] = asyncio.Event()
            calls = [asyncio.create_task(engine.generate(request())) for _ in range(3)]
            await server.wait_for(lambda: server.paths["/v1/completions"] == 1)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            await engine.aclose()

    async def go_on():
        server.gates.clear()
        server.arrived = asyncio.Condition()
        async with server:
            answer = await asyncio.wait_for(engine.generate(request()), 10)
            await engine.aclose()
        assert answer.text.strip() == "What is 7?"

    asyncio.run(begin())
    asyncio.run(go_on())


async def test_the_rest_goes_on_when_the_call_that_finds_out_is_cancelled():
    async with vllm() as server:
        server.gates["/v1/completions"] = gate = asyncio.Event()
        engine = engine_for(server)
        first, *others = [asyncio.create_task(engine.generate(request())) for _ in range(5)]
        await server.wait_for(lambda: server.paths["/v1/completions"] == 1)
        first.cancel()
        gate.set()
        answers = await asyncio.wait_for(asyncio.gather(*others), 10)
        await engine.aclose()
    assert first.cancelled()
    assert {answer.text.strip() for answer in answers} == {"What is 7?"}


# What is tried again


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_finding_out_is_tried_again(status):
    async with vllm(trouble={"/v1/completions": [status, status]}) as server:
        engine = engine_for(server)
        answers = await asyncio.gather(*(engine.generate(request(seed=n)) for n in range(5)))
        await engine.aclose()
    assert len(answers) == 5
    assert server.paths["/v1/completions"] == 2 + COUNTS + 5
    assert {call.prompt for call in server.raw} == {turn("user")}


async def test_finding_out_is_given_up_like_any_call():
    async with vllm(trouble={"/v1/completions": [500] * 6}) as server:
        engine = engine_for(server, retry=RetryPolicy(attempts=3, wait=0.0))
        with pytest.raises(EndpointError, match="500") as caught:
            await engine.generate(request())
        assert caught.value.status == 500
        assert server.paths["/v1/completions"] == 3
        # And not for good
        with pytest.raises(EndpointError):
            await engine.generate(request())
        assert server.paths["/v1/completions"] == 6
        await engine.generate(request())
        await engine.aclose()


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refusal_for_good_is_the_endpoints_error_after_one_call(status):
    async with vllm(trouble={"/v1/completions": [status] * 9}) as server:
        error = await ask(server)
    assert isinstance(error, EndpointError)
    assert error.status == status
    assert server.paths["/v1/completions"] == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("make", [vllm, llama_server, ollama])
async def test_a_refusal_for_good_ends_the_rows_after_one_call(make, status):
    trouble = dict.fromkeys(["/v1/completions", "/api/generate"], [status] * 999)
    async with make(trouble=trouble) as server:
        rows, error = await draw(server, MagpieGenerator(num_rows=2))
    assert rows == []
    assert isinstance(error, UnsupportedError)
    assert f"answered {status}" in str(error) or status == 404
    assert set(server.paths.values()) == {1}


async def test_nobody_is_let_in():
    paths = ("/api/version", "/props", "/v1/models", "/v1/completions")
    async with llama_server(trouble={path: [401] * 99 for path in paths}) as server:
        for model in ("llama3:8b", "mine"):
            error = await ask(server, request(model=model))
            assert isinstance(error, EndpointError)
            assert error.status == 401
            assert "DRIA_API_KEY" in str(error)


async def test_calls_to_a_server_that_is_silent_time_out_together():
    async with vllm() as server:
        server.gates["/api/version"] = asyncio.Event()
        engine = engine_for(server, timeout=0.2, retry=RetryPolicy(attempts=1))
        calls = [asyncio.create_task(engine.generate(request())) for _ in range(10)]
        done, waiting = await asyncio.wait(calls, timeout=1.0)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await engine.aclose()
    assert len(done) == len(calls)


async def test_a_server_that_is_started_later_is_found_out_about_then():
    server = vllm()
    server.port = free_port()
    engine = engine_for(server)
    with pytest.raises(LostConnectionError):
        await engine.generate(request())
    async with server:
        assert (await engine.generate(request())).text.strip() == "What is 7?"
        await engine.aclose()


async def test_a_server_that_is_started_between_two_attempts_is_found_out_about():
    server = vllm()
    server.port = free_port()
    engine = engine_for(server, retry=RetryPolicy(wait=0.5, jitter=0.0))
    call = asyncio.create_task(engine.generate(request()))
    await asyncio.sleep(0.1)
    async with server:
        assert (await call).text.strip() == "What is 7?"
        await engine.aclose()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_ollama_that_is_busy_is_still_one(status):
    async with ollama(trouble={"/api/version": [status]}) as server:
        answer = await ask(server)
    assert server.paths["/v1/completions"] == 0
    assert answer.text.strip() == "What is 7?"


@pytest.mark.parametrize("status", [429, 503])
async def test_a_llama_server_that_is_busy_or_loading_still_has_its_template(status):
    async with llama_server(models=["mine"], trouble={"/props": [status]}) as server:
        answer = await ask(server, request(model="mine"))
    assert answer.text.strip() == "What is 7?"


@pytest.mark.parametrize("path", ["/v1/completions", "/api/generate"])
@pytest.mark.parametrize("status", [429, 503])
async def test_a_raw_call_is_tried_again(path, status):
    async with (vllm if path.startswith("/v1") else ollama)() as server:
        engine = engine_for(server)
        await engine.generate(request())
        server._trouble[path] = [status] * 3
        generation = await engine.generate(request(seed=9))
        await engine.aclose()
    assert generation.text.strip() == "What is 9?"
    assert generation.attempts == 4
    assert {call.sampling["seed"] for call in server.raw[1:]} == {9}


async def test_rows_come_whole_through_a_server_that_refuses_now_and_then():
    async with vllm() as server:
        engine = engine_for(server)
        await engine.generate(request())
        server._trouble["/v1/completions"] = [429] * 10
        async with Dria(nodes=[Node(engine)]) as dria:
            rows = [row async for row in MagpieGenerator(num_rows=20, seed=3).generate(dria)]
    assert len({row["instruction"] for row in rows}) == 20


def silent(*seeds):
    """Writes nothing where one of these seeds is drawn from."""
    return lambda call: "" if call.sampling.get("seed") in seeds else talk(call)


async def test_an_empty_instruction_is_drawn_again_by_the_node_which_keeps_the_seed():
    async with vllm(writes=silent(7)) as server:
        result = await converse(server, synthesis())
    assert result.error is None
    seeds = [call.body["seed"] for call in server.raw]
    assert len(seeds) == 2
    assert seeds[0] == 7
    assert result.turns[0].seed == seeds[1]
    assert result.turns[0].attempts == 2
    assert result.turns[0].text == f"What is {seeds[1]}?"


async def first_seeds(**options):
    """The seeds with which the instructions of some rows are drawn first, in the rows' order."""
    async with vllm() as server:
        rows, _ = await draw(server, MagpieGenerator(**options))
    return [row["metadata"]["seeds"][0] for row in rows]


async def test_seeds_of_rows_are_those_that_were_sent():
    seeds = await first_seeds(num_rows=5, seed=7)
    async with vllm(writes=silent(*seeds[:3])) as server:
        rows, error = await draw(server, MagpieGenerator(num_rows=5, seed=7))
    assert error is None
    for row in rows:
        asked, answered = row["metadata"]["seeds"]
        assert row["instruction"] == f"What is {asked}?"
        assert row["response"] == f"It is {answered}."
    found = [row["metadata"]["seeds"][0] for row in rows]
    assert found[3:] == seeds[3:]
    assert not set(found[:3]) & set(seeds)
    assert len(server.raw) == 8


@pytest.mark.parametrize("make", [vllm, ollama])
async def test_an_engine_draws_a_users_message_once(make):
    async with make(writes=lambda _: " \n<|eot_id|>") as server:
        error = await ask(server)
        assert isinstance(error, EmptyCompletionError)
        assert len(server.raw) == 1
        result = await converse(server, synthesis())
    assert isinstance(result.error, InstructionError)
    assert len(server.raw) == 1 + MOST_ATTEMPTS
    assert len({call.sampling["seed"] for call in server.raw}) == MOST_ATTEMPTS


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [None]}, []])
async def test_an_answer_without_text_is_an_error_that_says_so(answer):
    server = vllm()
    server._answer = lambda *_: respond(answer)
    async with server:
        error = await ask(server, retry=RetryPolicy(attempts=2, wait=0.0))
    assert isinstance(error, EndpointError)
    assert "answered with" in str(error)


# Instructions that cannot be one


def cut_until(number):
    """Writes without an end for so many calls."""
    calls = []

    def write(call):
        if tiny(call):
            return "x"
        calls.append(call)
        return "and so on " * 50 if len(calls) <= number else "Short?<|eot_id|>"

    return write


def only_instruction(**sampling):
    return MagpieGenerator(
        num_rows=1, only_instruction=True, seed=1, instruction_sampling=Sampling(**sampling)
    )


async def test_an_instruction_that_was_cut_off_is_drawn_again_with_another_seed():
    async with vllm(writes=cut_until(2)) as server:
        rows, error = await draw(server, only_instruction(max_tokens=8))
    assert error is None
    assert rows[0]["instruction"] == "Short?"
    seeds = [call.body["seed"] for call in server.raw]
    assert len(set(seeds)) == 3
    assert rows[0]["metadata"]["seeds"] == [seeds[-1]]
    assert rows[0]["metadata"]["finish_reasons"] == ["stop"]


THOUGHTS = "The user will ask."


@pytest.mark.parametrize(
    "thought",
    [f"<think>{THOUGHTS}</think>\n\n", f"{THOUGHTS}</think>", f"[THINK]{THOUGHTS}[/THINK]"],
)
@pytest.mark.parametrize("make", [vllm, ollama])
async def test_an_instruction_with_thoughts_is_drawn_again_and_an_answers_are_kept_apart(
    make, thought
):
    def write(call):
        if "messages" in call.body:
            return f"{thought}It is."
        return f"{thought if call.sampling.get('seed') == 7 else ''}What is it?<|eot_id|>"

    async with make(writes=write) as server:
        result = await converse(server, synthesis())
    assert result.error is None
    assert json.loads(result.result) == ["What is it?", "It is."]
    assert [turn.reasoning for turn in result.turns] == ["", THOUGHTS]
    assert len(server.raw) == 2
    assert len(server.chats) == 1
    assert result.turns[0].seed == server.raw[1].sampling["seed"] != 7


async def test_instructions_that_are_thoughts_only_are_given_up_as_no_instruction():
    async with vllm(writes=lambda _: f"<think>{THOUGHTS}<|eot_id|>") as server:
        result = await converse(server, synthesis())
    assert isinstance(result.error, InstructionError)
    assert "'<think>'" in str(result.error)
    assert len(server.raw) == MOST_ATTEMPTS


async def test_instructions_without_an_end_are_given_up():
    async with vllm(writes=cut_until(10**6)) as server:
        result = await converse(server, synthesis(max_tokens=8))
    assert isinstance(result.error, InstructionError)
    assert "cut off" in str(result.error)
    assert result.turns == ()
    assert len(server.raw) == MOST_ATTEMPTS
    assert len({call.body["seed"] for call in server.raw}) == MOST_ATTEMPTS
    assert server.chats == []


async def test_a_row_without_an_instruction_is_replaced_by_another_one():
    options = {"seed": 7, "instruction_sampling": Sampling(max_tokens=20)}
    bad, *good = await first_seeds(num_rows=4, **options)
    stride = 2**31 // MOST_ATTEMPTS
    seeds = {(bad + number * stride) % 2**31 for number in range(MOST_ATTEMPTS)}

    def write(call):
        cut = call.sampling.get("seed") in seeds and not tiny(call)
        return "and so on " * 50 if cut else talk(call)

    async with vllm(writes=write) as server:
        rows, error = await draw(server, MagpieGenerator(num_rows=3, **options))
    assert error is None
    assert [row["metadata"]["seeds"][0] for row in rows] == good


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ends": ["<|eot_id|>"]}, "What is 7?"),
        pytest.param(
            {"ends": ["<|end_of_text|>"]},
            "What is 7?",
        ),
    ],
    ids=["the turn's end ends the model", "another token does"],
)
async def test_a_turn_ends_where_special_tokens_are_left_out_of_the_text(options, text):
    async with vllm(skips_special=True, **options) as server:
        generation = await ask(server)
    assert generation.text.strip() == text


# Draining


async def test_a_raw_call_under_way_ends_well_and_no_other_begins():
    async with vllm() as server:
        engine = engine_for(server)
        await engine.generate(request())
        server.gates["/v1/completions"] = gate = asyncio.Event()
        call = asyncio.create_task(engine.generate(request(seed=9)))
        await server.wait_for(lambda: server.paths["/v1/completions"] == COUNTS + 2)
        engine.drain()
        with pytest.raises(DrainedError):
            await engine.generate(request())
        gate.set()
        assert (await call).text.strip() == "What is 9?"
        assert server.paths["/v1/completions"] == COUNTS + 2
        await engine.start()
        assert (await engine.generate(request())).text
        await engine.aclose()


async def test_draining_ends_the_wait_for_another_attempt():
    async with vllm(trouble={"/v1/completions": [500]}) as server:
        engine = engine_for(server, retry=RetryPolicy(wait=30.0, longest_wait=30.0))
        call = asyncio.create_task(engine.generate(request()))
        await server.wait_for(lambda: server.paths["/v1/completions"] == 1)
        await asyncio.sleep(0.05)
        engine.drain()
        with pytest.raises(DrainedError):
            await asyncio.wait_for(call, 5)
        await engine.aclose()


async def test_a_drained_engine_finds_nothing_out():
    async with vllm() as server:
        engine = engine_for(server)
        engine.drain()
        with pytest.raises(DrainedError):
            await engine.generate(request())
        await engine.aclose()
    assert server.calls == []


async def test_draining_ends_finding_out():
    async with vllm() as server:
        server.gates["/api/version"] = gate = asyncio.Event()
        engine = engine_for(server)
        calls = [asyncio.create_task(engine.generate(request())) for _ in range(5)]
        await server.wait_for(lambda: server.paths["/api/version"] == 1)
        engine.drain()
        gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await engine.aclose()
    assert {type(outcome) for outcome in outcomes} == {DrainedError}
    assert server.paths == {"/api/version": 1}


async def test_draining_ends_the_wait_for_what_another_call_finds_out():
    async with vllm() as server:
        server.gates["/api/version"] = gate = asyncio.Event()
        engine = engine_for(server)
        first, *others = [asyncio.create_task(engine.generate(request())) for _ in range(5)]
        await server.wait_for(lambda: server.paths["/api/version"] == 1)
        engine.drain()
        done, _ = await asyncio.wait(others, timeout=0.3)
        gate.set()
        await asyncio.gather(first, *others, return_exceptions=True)
        await engine.aclose()
    assert len(done) == len(others)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def respond(answer):
    return web.json_response(answer)
