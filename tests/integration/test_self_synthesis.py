"""The MAGPIE method on the real SmolLM2: what the model is shown, and what it makes of it."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import pytest

from dria_magpie import Dria, Node, Task
from dria_magpie.engines import LlamaEngine
from dria_magpie.engines.chat.wire import Connection
from dria_magpie.engines.weights.names import SMOLLM2
from dria_magpie.factory import SelfSynthesis
from dria_magpie.magpie import MagpieGenerator
from dria_magpie.magpie.system_prompts import MULTI_TURN
from dria_magpie.models import GenerationRequest, Message, Sampling

# At 64 tokens two instructions in three are cut off and drawn again, which takes longer than these
CAP = 128
GENERATOR = MagpieGenerator(
    num_rows=3,
    n_turns=2,
    seed=1,
    instruction_sampling=Sampling(max_tokens=CAP),
    response_sampling=Sampling(max_tokens=24),
)
OPENING = "<|im_start|>user\n"


class Server:
    """What a running engine's server says of texts."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine

    async def say(self, path, body):
        client = self._engine._process._client
        headers = {"Authorization": f"Bearer {client._connection._api_key}"}
        url = client._url.removesuffix("/v1") + path
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(url, json=body) as response,
        ):
            assert response.status == 200
            return await response.json()

    async def tokens(self, prompt):
        """The tokens of a prompt, with what is put before one."""
        body = {"content": prompt, "add_special": True, "with_pieces": True}
        return [token["piece"] for token in (await self.say("/tokenize", body))["tokens"]]

    async def opened(self, *history):
        """What llama.cpp itself writes before a user's message."""
        messages = [{"role": role, "content": text} for role, text in history]
        messages.append({"role": "user", "content": "HERE"})
        written = (await self.say("/apply-template", {"messages": messages}))["prompt"]
        before, _, after = written.partition("HERE")
        assert after.startswith("<|im_end|>")
        return before


@pytest.fixture
def sent(monkeypatch):
    """The raw prompts that are sent, but those that are only counted."""
    prompts = []
    post = Connection.post

    async def noting(self, route, body):
        given = json.loads(body)
        if "prompt" in given and given.get("max_tokens") != 1:
            prompts.append(given)
        return await post(self, route, body)

    monkeypatch.setattr(Connection, "post", noting)
    return prompts


@pytest.fixture(scope="module")
def engine():
    """One engine for the tests that do not need a fresh one."""
    engine = LlamaEngine()
    yield engine
    asyncio.run(engine.aclose())


async def draw(engine, generator, **node):
    async with Dria(nodes=[Node(engine, **node)]) as dria:
        return [row async for row in generator.generate(dria)]


async def test_rows_are_conversations_without_a_trace_of_the_template(engine, sent):
    rows = await draw(engine, GENERATOR)
    assert len(rows) == 3
    for row in rows:
        conversation = row["conversation"]
        roles = [message["role"] for message in conversation]
        assert roles == ["user", "assistant", "user", "assistant"]
        for message in conversation:
            assert message["content"].strip()
            assert not re.search(r"<\|\w+\|>", message["content"])
        for message in conversation[::2]:
            assert message["content"] == message["content"].strip()
        metadata = row["metadata"]
        assert metadata["error"] is None
        assert metadata["finish_reasons"][::2] == ["stop", "stop"]
        assert max(metadata["output_tokens"][::2]) <= CAP
        assert max(metadata["output_tokens"][1::2]) <= 24
        assert row["model_name"] == SMOLLM2.name
    texts = [message["content"] for row in rows for message in row["conversation"][::2]]
    assert len(set(texts)) == len(texts)
    seeds = [seed for row in rows for seed in row["metadata"]["seeds"]]
    assert len(set(seeds)) == len(seeds)
    assert {given["prompt"] for given in sent} >= {
        f"<|im_start|>system\n{MULTI_TURN}<|im_end|>\n{OPENING}"
    }


@pytest.mark.parametrize("system", [None, "You are a cook."])
async def test_the_model_is_shown_what_llama_cpp_writes_before_a_users_message(
    engine, sent, system
):
    short = Sampling(max_tokens=CAP, seed=5, stop=("?", "."))
    workflow = SelfSynthesis().workflow(
        system, 2, instruction_sampling=short, response_sampling=Sampling(max_tokens=16, seed=5)
    )
    server = Server(engine)
    async with Dria(nodes=[Node(engine)]) as dria:
        result = await dria.execute(Task(workflow=workflow))
        first, second, third, _ = result.turns
        head = [("system", system)] if system else []
        prompts = [
            await server.opened(*head),
            await server.opened(*head, ("user", first.text), ("assistant", second.text)),
        ]
        tokens = [await server.tokens(prompt) for prompt in prompts]
    assert sorted({given["prompt"] for given in sent}, key=len) == prompts
    for prompt, pieces, turn, turns in zip(prompts, tokens, (first, third), (1, 3), strict=True):
        # SmolLM2 opens each message, and so each prompt, with its first token; it has a system
        # prompt of its own
        assert pieces.count("<|im_start|>") == turns + 1
        assert pieces.count("<|im_end|>") == turns
        assert pieces[:2] == ["<|im_start|>", "system"]
        assert pieces[-3:] == ["<|im_start|>", "user", "\n"]
        assert prompt.count("<|im_start|>assistant") == turns // 2
        assert turn.prompt_tokens == len(pieces)
    for given in sent:
        assert given["stop"][:2] == ["?", "."]
        assert {"<|im_end|>", "<|im_start|>"} <= set(given["stop"])


async def test_it_is_found_out_once_how_the_server_takes_prompts(monkeypatch):
    calls = []
    call = Connection._call

    async def noting(self, method, route, body):
        calls.append(
            (method, route.rpartition("/")[2], json.loads(body or b"{}").get("max_tokens"))
        )
        return await call(self, method, route, body)

    monkeypatch.setattr(Connection, "_call", noting)
    engine = LlamaEngine(slots=2, context=512)
    asked = GenerationRequest(
        model=SMOLLM2.name,
        messages=(Message("user", ""),),
        sampling=Sampling(max_tokens=4, seed=3),
        open_user_turn=True,
    )
    try:
        await asyncio.gather(*(engine.generate(asked) for _ in range(6)))
    finally:
        await engine.aclose()
    assert calls.count(("POST", "completions", 1)) == 2
    assert calls.count(("POST", "completions", 4)) == 6
    assert len([1 for method, *_ in calls if method == "GET"]) <= 2


async def test_the_same_seed_gives_the_same_row_from_a_fresh_engine():
    generator = GENERATOR.evolve(num_rows=1, seed=11, instruction_sampling=Sampling(max_tokens=64))
    rows = [await draw(LlamaEngine(slots=1, context=1024), generator, slots=1) for _ in range(2)]
    assert rows[0] == rows[1]
    # The first instruction of this seed is cut off, and so drawn again with another one
    assert rows[0][0]["metadata"]["seeds"][0] - rows[0][0]["metadata"]["seeds"][1] > 10**8
