"""So many tasks in one `execute`."""

from __future__ import annotations

from typing import Any

from program import count_arrivals, execute, make_task, run


async def many(client: Any, *words: str) -> dict[str, Any]:
    """Execute tasks of several names: ``name number name number …``."""
    pairs = zip(words[::2], words[1::2], strict=True)
    topics = [f"{name} {place}" for name, number in pairs for place in range(int(number))]
    seen = await execute(client, [make_task(topic) for topic in topics])
    return {**seen, "arrivals": count_arrivals(client)}


run(many)
