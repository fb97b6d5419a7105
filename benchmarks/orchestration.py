"""What the project adds to a call: its rate and its processor time against a bare aiohttp loop."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.cost import CALLS_A_DIALOGUE, CALLS_AT_ONCE, PERSONAS, TURNS
from benchmarks.endpoint import ANSWER, LATENCY, MODEL, running_endpoint
from benchmarks.table import Figure, say
from dria_magpie import Dria, MagPie, Node, Task
from dria_magpie.testing import ScriptedEngine

DIALOGUES = 1_600
RUNS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls a second, and milliseconds of processor time (without children) a call."""

    rate: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f} calls/s, {self.cpu:.3f} ms CPU a call"


def measure(dialogues: int = DIALOGUES, runs: int = RUNS) -> list[Figure]:
    """Run both sides by turns and give the medians.

    Each run is a process of its own: neither side works in a heap that the other one filled, and
    the bare loop does not carry the project's modules through each garbage collection. Imports are
    not counted; opening the 200 connections is, on both sides.
    """
    costs: dict[str, list[Cost]] = {"ours": [], "bare": []}
    bodies = asyncio.run(_record_bodies())
    with running_endpoint() as url:
        for number in range(1, runs + 1):
            for side, sofar in costs.items():
                sofar.append(_run_process(side, url, dialogues, bodies))
                say(f"orchestration {number}/{runs} {side}: {sofar[-1]}")
    ours, bare = map(_median, costs.values())
    what = f"{CALLS_AT_ONCE} in flight, {LATENCY * 1000:.0f} ms each"
    return [
        Figure(what=f"calls/s, {what}", ours=ours.rate, bare=bare.rate, goal=0.85, digits=0),
        Figure(what="CPU ms a call", ours=ours.cpu, bare=bare.cpu, goal=3.3, most=True, digits=3),
    ]


def _median(runs: list[Cost]) -> Cost:
    return Cost(median(run.rate for run in runs), median(run.cpu for run in runs))


async def _record_bodies() -> list[dict[str, Any]]:
    """Give the bodies of the calls that one dialogue makes."""
    engine = ScriptedEngine([ANSWER] * CALLS_A_DIALOGUE, models=[MODEL])
    async with Dria(nodes=[Node(engine)]) as dria:
        await dria.execute(Task(workflow=MagPie().workflow(*PERSONAS, TURNS)))
    return [{"model": MODEL, "messages": [*map(asdict, r.messages)]} for r in engine.requests]


def _run_process(side: str, url: str, dialogues: int, bodies: list[dict[str, Any]]) -> Cost:
    command = [sys.executable, "-m", f"benchmarks.orchestration_{side}", url, str(dialogues)]
    order = json.dumps(bodies)
    done = subprocess.run(command, input=order, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(*json.loads(done.stdout))
