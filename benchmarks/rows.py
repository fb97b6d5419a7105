"""Whether a sweep stays as it was: memory and time a row, late against early.

``python -m benchmarks.rows ROWS`` is the process that is measured.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time

import psutil

from benchmarks.cost import PERSONAS, TURNS
from benchmarks.endpoint import ANSWER
from benchmarks.table import Figure
from dria_magpie import Dria, Node, Sweep
from dria_magpie.testing import ScriptedEngine

ROWS = 100_000


def measure(rows: int = ROWS) -> list[Figure]:
    """Make many rows on an engine that answers at once."""
    command = [sys.executable, "-m", "benchmarks.rows", str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    growth, early, late = json.loads(done.stdout)
    part = f"row {rows // 5:,} to row {rows:,}"
    return [
        Figure(what=f"memory growth, MB, {part}", ours=growth, goal=10, most=True),
        Figure(
            what="sweep, CPU ms a row, last fifth against first",
            ours=late,
            bare=early,
            goal=1.2,
            most=True,
            digits=3,
        ),
    ]


async def _run(rows: int, run_dir: str) -> None:
    instructor, responder = PERSONAS
    recipe = {
        "instructors": [instructor],
        "responders": [responder],
        "rows": rows,
        "turns": TURNS,
    }
    process, fifth = psutil.Process(), rows // 5
    sizes, times = [], [time.process_time()]
    async with Dria(nodes=[Node(ScriptedEngine(lambda _: ANSWER))]) as dria:
        position = 0
        async for _ in Sweep.from_recipe(recipe, run_dir).run(dria):
            position += 1
            if position % fifth == 0:
                sizes.append(process.memory_info().rss)
                times.append(time.process_time())
    early, late = (times[1] - times[0]) / fifth, (times[-1] - times[-2]) / fifth
    print(json.dumps([(max(sizes) - sizes[0]) / 1e6, early * 1000, late * 1000]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_run(int(sys.argv[1]), folder))
