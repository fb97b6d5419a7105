"""How many rows of self-synthesis a second there are on an engine that answers at once."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from benchmarks.table import Figure, say
from dria_magpie import Dria, Node
from dria_magpie.magpie import MagpieGenerator
from dria_magpie.testing import ScriptedEngine

ROWS = 10_000
RUNS = 3


def measure(rows: int = ROWS, runs: int = RUNS) -> list[Figure]:
    """Generate rows of one turn, and give the median rate."""
    rates = []
    for number in range(1, runs + 1):
        rates.append(asyncio.run(_run(rows)))
        say(f"synthesis {number}/{runs}: {rates[-1]:,.0f} rows/s")
    what = "self-synthesis, single-turn rows/s"
    return [Figure(what=what, ours=median(rates), goal=5000, digits=0)]


async def _run(rows: int) -> float:
    async with Dria(nodes=[Node(ScriptedEngine(lambda _: "What is a magpie?"))]) as dria:
        started = time.perf_counter()
        count = 0
        async for _ in MagpieGenerator(num_rows=rows).generate(dria):
            count += 1
        if count != rows:
            raise SystemExit(f"{count} rows came, not {rows}")
        return rows / (time.perf_counter() - started)
