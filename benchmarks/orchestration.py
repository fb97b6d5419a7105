"""What the project adds to a call: its rate and its processor time against a bare aiohttp loop."""

from __future__ import annotations

from benchmarks.cost import CALLS_AT_ONCE
from benchmarks.endpoint import LATENCY
from benchmarks.sides import compare
from benchmarks.table import Figure

DIALOGUES = 1_600
RUNS = 5


def measure(dialogues: int = DIALOGUES, runs: int = RUNS) -> list[Figure]:
    """Hold dialogues on both sides, and give the medians."""
    ours, bare = compare("orchestration", dialogues, runs)
    what = f"{CALLS_AT_ONCE} in flight, {LATENCY * 1000:.0f} ms each"
    return [
        Figure(what=f"calls/s, {what}", ours=ours.rate, bare=bare.rate, goal=0.85, digits=0),
        Figure(what="CPU ms a call", ours=ours.cpu, bare=bare.cpu, goal=3.3, most=True, digits=3),
    ]
