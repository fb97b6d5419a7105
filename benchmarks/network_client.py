"""A client: ``python -m benchmarks.network_client URL CREDS DIALOGUES`` prints its figures."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from statistics import quantiles

from benchmarks.cost import PERSONAS, TURNS
from dria_magpie import Dria, MagPie, Task

ALONE = 300


def _make_task(number: int) -> Task:
    """Give a task with personas of its own, as a sweep does."""
    instructor, responder = PERSONAS
    return Task(workflow=MagPie().workflow(f"{instructor}, {number}", responder, TURNS))


async def _run(url: str, creds: str, dialogues: int) -> dict[str, float]:
    async with Dria(url, creds=creds) as dria:
        times = []
        for number in range(ALONE):
            started = time.perf_counter()
            await dria.execute(_make_task(number))
            times.append((time.perf_counter() - started) * 1000)
        started, count = time.perf_counter(), 0
        async for result in dria.stream(map(_make_task, range(dialogues))):
            if result.error:
                raise SystemExit(f"a dialogue failed: {result.error}")
            count += 1
        rate = count / (time.perf_counter() - started)
        if count != dialogues:
            raise SystemExit(f"{count} results came, not {dialogues}")
    cuts = quantiles(times[ALONE // 10 :], n=100)
    return {"p50": cuts[49], "p99": cuts[98], "rate": rate}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
