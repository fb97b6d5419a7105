"""One task after the other."""

from __future__ import annotations

from typing import Any

from program import execute, make_task, run


async def one_by_one(client: Any, number: str) -> dict[str, Any]:
    return {"each": [await execute(client, make_task(f"One {n}")) for n in range(int(number))]}


run(one_by_one)
