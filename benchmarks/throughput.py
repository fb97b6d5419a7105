"""Tokens a second of the embedded model, against its server without the project around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks.personas import DIALOGUES, SAMPLING, dialogue, seed
from benchmarks.table import Figure, say
from dria_magpie import Dria, LlamaEngine, Message, Node
from dria_magpie.engines.child import Child
from dria_magpie.engines.weights.gguf import trained_context
from dria_magpie.engines.weights.names import SMOLLM2
from dria_magpie.testing import ScriptedEngine

TURNS = 3
RUNS = 3


def measure() -> list[Figure]:
    """Run both sides by turns, each with a server of its own, and give the medians.

    Both sides hold the same dialogues, as many at once as the server has slots: the same personas,
    prompts, seeds and caps, and each prompt goes on with what the model said on that side.
    """
    ours: list[float] = []
    bare: list[float] = []
    for number in range(1, RUNS + 1):
        for side, rates in (("ours", ours), ("bare", bare)):
            rates.append(asyncio.run(_run_ours() if side == "ours" else _run_bare()))
            say(f"throughput {number}/{RUNS} {side}: {rates[-1]:.1f} tokens/s")
    what = f"tokens/s, embedded model, {DIALOGUES} dialogues of {TURNS} turns"
    return [Figure(what=what, ours=median(ours), bare=median(bare), goal=0.95, digits=1)]


async def _run_ours() -> float:
    engine = LlamaEngine()
    tokens = 0
    async with Dria(nodes=[Node(engine)]) as dria:
        await engine.start()
        started = time.perf_counter()
        async with aclosing(dria.stream(dialogue(n, TURNS) for n in range(DIALOGUES))) as results:
            async for result in results:
                if result.error:
                    raise result.error
                tokens += result.completion_tokens
        return tokens / (time.perf_counter() - started)


async def _run_bare() -> float:
    settings = LlamaEngine()
    server = {
        "path": settings.address,
        "name": settings.models[0],
        "api_key": "benchmark",
        "slots": settings.slots,
        "context": trained_context(Path(settings.address)),
    }
    dialogues = [await _record(number) for number in range(DIALOGUES)]
    child = Child("dria_magpie.engines.llama_server", server)
    try:
        answer = await child.answer()
        assert answer
        headers = {"Authorization": "Bearer benchmark"}
        async with aiohttp.ClientSession(answer["address"], headers=headers) as session:
            left = iter(dialogues)
            started = time.perf_counter()
            workers = (_work(session, left) for _ in range(settings.slots))
            tokens = sum(await asyncio.gather(*workers))
            return tokens / (time.perf_counter() - started)
    finally:
        child.kill()


@dataclass(frozen=True, slots=True)
class _Heads:
    """How the prompts of a dialogue begin: the instructor's and the responder's."""

    heads: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    seed: int


async def _record(number: int) -> _Heads:
    engine = ScriptedEngine(["Why?", "So."])
    async with Dria(nodes=[Node(engine)]) as dria:
        await dria.execute(dialogue(number, 1))
    instructor, responder = (request.messages for request in engine.requests)
    # The responder's prompt ends with what the instructor said
    return _Heads((_dicts(instructor), _dicts(responder[:-1])), seed(number))


def _dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [asdict(message) for message in messages]


async def _work(session: aiohttp.ClientSession, left: Iterator[_Heads]) -> int:
    return sum([await _converse(session, dialogue) for dialogue in left])


async def _converse(session: aiohttp.ClientSession, dialogue: _Heads) -> int:
    said: list[str] = []
    tokens = 0
    for step in range(2 * TURNS):
        history = [
            {"role": "assistant" if (step - place) % 2 == 0 else "user", "content": text}
            for place, text in enumerate(said)
        ]
        body = {**SMOLLM2.defaults, **SAMPLING.evolve(seed=dialogue.seed + step).to_dict()}
        body["messages"] = dialogue.heads[step % 2] + history
        async with session.post("/v1/chat/completions", json=body) as response:
            answer = await response.json()
        said.append(answer["choices"][0]["message"]["content"])
        tokens += answer["usage"]["completion_tokens"]
    return tokens
