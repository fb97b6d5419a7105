"""The project's side of the measurement of orchestration: ``... URL DIALOGUES``."""

from __future__ import annotations

import sys

from benchmarks.cost import CALLS_AT_ONCE, PERSONAS, TURNS, print_cost
from dria_magpie import Dria, MagPie, Node, OpenAIEngine, Task


async def run(url: str, dialogues: int) -> int:
    """Hold the dialogues, read every result, and give the number of messages."""
    magpie = MagPie()
    tasks = (Task(workflow=magpie.workflow(*PERSONAS, TURNS)) for _ in range(dialogues))
    messages = 0
    async with Dria(nodes=[Node(OpenAIEngine(url, concurrency=CALLS_AT_ONCE))]) as dria:
        async for result in dria.stream(tasks):
            messages += len(magpie.parse_result(result)["dialogue"])
    return messages


if __name__ == "__main__":
    number = int(sys.argv[2])
    print_cost(run(sys.argv[1], number), number)
