"""What a network of machines adds: time for one dialogue alone, and dialogues a second."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from statistics import median, quantiles

from benchmarks.cost import PERSONAS, TURNS
from benchmarks.endpoint import ANSWER, MODEL
from benchmarks.network_client import ALONE
from benchmarks.network_field import Field, running_network
from benchmarks.table import Figure, say
from dria_magpie import Dria, MagPie, Node, Task
from dria_magpie.testing import ScriptedEngine

DIALOGUES = 3_000
RUNS = 5


def measure(dialogues: int = DIALOGUES, runs: int = RUNS) -> list[Figure]:
    """Run dialogues on two nodes and in this process, and give the medians."""
    bare = [asyncio.run(_measure_here()) for _ in range(runs)]
    ours = asyncio.run(_measure_network(dialogues, runs))
    p50 = median(run["p50"] for run in ours) - median(run[0] for run in bare)
    p99 = median(run["p99"] for run in ours) - median(run[1] for run in bare)
    rate = median(run["rate"] for run in ours)
    return [
        Figure(what="network, one at a time, added ms, p50", ours=p50, goal=5, most=True),
        Figure(what="network, one at a time, added ms, p99", ours=p99, goal=20, most=True),
        Figure(what="network, dialogues of 2 turns/s", ours=rate, goal=800, digits=0),
    ]


async def _measure_here() -> tuple[float, float]:
    """Give p50 and p99 in ms of one dialogue at a time on a node in this process."""
    engine = ScriptedEngine(lambda _: ANSWER, models=[MODEL])
    workflow = MagPie().workflow(*PERSONAS, TURNS)
    times = []
    async with Dria(nodes=[Node(engine)]) as dria:
        for _ in range(ALONE):
            started = time.perf_counter()
            await dria.execute(Task(workflow=workflow))
            times.append((time.perf_counter() - started) * 1000)
    cuts = quantiles(times[ALONE // 10 :], n=100)
    return cuts[49], cuts[98]


async def _measure_network(dialogues: int, runs: int) -> list[dict[str, float]]:
    found = []
    async with running_network(2) as field:
        for number in range(1, runs + 1):
            found.append(await asyncio.to_thread(_run_client, field, dialogues))
            say(f"network {number}/{runs}: {found[-1]}")
    return found


def _run_client(field: Field, dialogues: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.network_client"]
    command += [field.url, str(field.client), str(dialogues)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    read: dict[str, float] = json.loads(done.stdout)
    return read
