"""The bare side of the measurement of sweeps: ``... URL DIALOGUES``, bodies on stdin."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.cost import CALLS_AT_ONCE, print_cost


async def run(url: str, bodies: list[dict[str, Any]], dialogues: int, path: Path) -> int:
    """Make the calls of the dialogues, commit each dialogue, and give the number of answers."""
    left = iter(range(dialogues))
    store = sqlite3.connect(path)
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("PRAGMA synchronous = NORMAL")
    store.execute("CREATE TABLE dialogues (number INTEGER PRIMARY KEY, answers TEXT)")
    connector = aiohttp.TCPConnector(limit=CALLS_AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as session:
        workers = (_work(session, url, bodies, left, store) for _ in range(CALLS_AT_ONCE))
        answers = sum(await asyncio.gather(*workers))
    store.close()
    return answers


async def _work(
    session: aiohttp.ClientSession,
    url: str,
    bodies: list[dict[str, Any]],
    left: Iterator[int],
    store: sqlite3.Connection,
) -> int:
    count = 0
    for number in left:
        answers = []
        for body in bodies:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                answers.append(await response.json())
        store.execute("INSERT INTO dialogues VALUES (?, ?)", (number, json.dumps(answers)))
        store.commit()
        count += len(answers)
    return count


if __name__ == "__main__":
    number = int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "store.sqlite"
        print_cost(run(sys.argv[1], json.load(sys.stdin), number, where), number)
