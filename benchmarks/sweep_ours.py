"""The project's side of the measurement of sweeps: ``... URL DIALOGUES``."""

from __future__ import annotations

import sys
import tempfile

from benchmarks.cost import CALLS_AT_ONCE, PERSONAS, TURNS, print_cost
from dria_magpie import Dria, Node, OpenAIEngine, Sweep


async def run(url: str, dialogues: int, run_dir: str) -> int:
    """Make the rows, and give the number of messages."""
    instructor, responder = PERSONAS
    recipe = {
        "instructors": [instructor],
        "responders": [responder],
        "rows": dialogues,
        "turns": TURNS,
    }
    sweep = Sweep.from_recipe(recipe, run_dir)
    messages = 0
    async with Dria(nodes=[Node(OpenAIEngine(url, concurrency=CALLS_AT_ONCE))]) as dria:
        async for row in sweep.run(dria):
            messages += len(row.messages)
    return messages


if __name__ == "__main__":
    number = int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        print_cost(run(sys.argv[1], number, folder), number)
