"""Two sides of a measurement: this project's and a bare one, each run a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.cost import CALLS_A_DIALOGUE, PERSONAS, TURNS
from benchmarks.endpoint import ANSWER, MODEL, running_endpoint
from benchmarks.table import say
from dria_magpie import Dria, MagPie, Node, Task
from dria_magpie.testing import ScriptedEngine


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls a second, and milliseconds of processor time (without children) a call."""

    rate: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f} calls/s, {self.cpu:.3f} ms CPU a call"


def compare(name: str, dialogues: int, runs: int) -> tuple[Cost, Cost]:
    """Run ``NAME_ours`` and ``NAME_bare`` by turns and give the medians of both.

    Each run is a process of its own: neither side works in a heap that the other one filled, and
    the bare loop does not carry the project's modules through each garbage collection. Imports are
    not counted; opening the connections is, on both sides.
    """
    costs: dict[str, list[Cost]] = {"ours": [], "bare": []}
    bodies = asyncio.run(_record_bodies())
    with running_endpoint() as url:
        for number in range(1, runs + 1):
            for side, sofar in costs.items():
                sofar.append(_run_process(f"benchmarks.{name}_{side}", url, dialogues, bodies))
                say(f"{name} {number}/{runs} {side}: {sofar[-1]}")
    ours, bare = map(_median, costs.values())
    return ours, bare


def _median(runs: list[Cost]) -> Cost:
    return Cost(median(run.rate for run in runs), median(run.cpu for run in runs))


async def _record_bodies() -> list[dict[str, Any]]:
    """Give the bodies of the calls that one dialogue makes."""
    engine = ScriptedEngine([ANSWER] * CALLS_A_DIALOGUE, models=[MODEL])
    async with Dria(nodes=[Node(engine)]) as dria:
        await dria.execute(Task(workflow=MagPie().workflow(*PERSONAS, TURNS)))
    return [{"model": MODEL, "messages": [*map(asdict, r.messages)]} for r in engine.requests]


def _run_process(module: str, url: str, dialogues: int, bodies: list[dict[str, Any]]) -> Cost:
    command = [sys.executable, "-m", module, url, str(dialogues)]
    order = json.dumps(bodies)
    done = subprocess.run(command, input=order, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(*json.loads(done.stdout))
