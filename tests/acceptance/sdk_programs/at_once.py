"""Several calls of `execute` at once, on one client."""

from __future__ import annotations

import asyncio
from typing import Any

from program import count_arrivals, execute, make_task, run


async def at_once(client: Any, number: str) -> dict[str, Any]:
    calls = [execute(client, make_task(f"At once {place}")) for place in range(int(number))]
    return {"each": await asyncio.gather(*calls), "arrivals": count_arrivals(client)}


run(at_once)
