"""What a sweep adds to a call, its store included, against a loop that commits each dialogue."""

from __future__ import annotations

from benchmarks.cost import CALLS_AT_ONCE
from benchmarks.endpoint import LATENCY
from benchmarks.sides import compare
from benchmarks.table import Figure

DIALOGUES = 1_600
RUNS = 5


def measure(dialogues: int = DIALOGUES, runs: int = RUNS) -> list[Figure]:
    """Make dialogues with a store on both sides, and give the medians."""
    ours, bare = compare("sweep", dialogues, runs)
    what = f"sweep with store, {CALLS_AT_ONCE} in flight, {LATENCY * 1000:.0f} ms each"
    cpu = "sweep with store, CPU ms a call"
    return [
        Figure(what=f"{what}, calls/s", ours=ours.rate, bare=bare.rate, goal=0.8, digits=0),
        Figure(what=cpu, ours=ours.cpu, bare=bare.cpu, goal=3.3, most=True, digits=3),
    ]
