"""The bare side of the measurement of orchestration: ``... URL DIALOGUES``, bodies on stdin."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp

from benchmarks.cost import CALLS_AT_ONCE, print_cost


async def run(url: str, bodies: list[dict[str, Any]], dialogues: int) -> int:
    """Make the calls of the dialogues, those of one in order, and give the number of answers."""
    left = iter(range(dialogues))
    connector = aiohttp.TCPConnector(limit=CALLS_AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as session:
        workers = (_work(session, url, bodies, left) for _ in range(CALLS_AT_ONCE))
        return sum(await asyncio.gather(*workers))


async def _work(
    session: aiohttp.ClientSession, url: str, bodies: list[dict[str, Any]], left: Iterator[int]
) -> int:
    answers = 0
    for _ in left:
        for body in bodies:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                await response.json()
                answers += 1
    return answers


if __name__ == "__main__":
    number = int(sys.argv[2])
    print_cost(run(sys.argv[1], json.load(sys.stdin), number), number)
