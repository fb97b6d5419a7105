"""How much of the prompts the embedded model's server takes from its cache."""

from __future__ import annotations

import asyncio

from benchmarks.personas import DIALOGUES, dialogue
from benchmarks.table import Figure, say
from dria_magpie import Dria, LlamaEngine, Node

TURNS = 5


def measure() -> list[Figure]:
    """Hold long dialogues, several at once, and count prompt tokens."""
    cached, prompt = asyncio.run(_count())
    say(f"cache: {cached} of {prompt} prompt tokens")
    what = f"prompt tokens from cache, {DIALOGUES} dialogues of {TURNS} turns"
    return [Figure(what=what, ours=cached / prompt, goal=0.75)]


async def _count() -> tuple[int, int]:
    cached = prompt = 0
    tasks = (dialogue(number, TURNS) for number in range(DIALOGUES))
    async with Dria(nodes=[Node(LlamaEngine())]) as dria:
        async for result in dria.stream(tasks):
            if result.error:
                raise result.error
            cached += result.cached_tokens
            prompt += result.prompt_tokens
    return cached, prompt
