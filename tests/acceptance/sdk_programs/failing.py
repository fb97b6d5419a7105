"""Tasks that fail for good: each `execute` comes back soon, without them."""

from __future__ import annotations

import asyncio
from typing import Any

from program import count_arrivals, execute, make_task, run


async def fail(client: Any, marked: str) -> dict[str, Any]:
    graph = make_task("Graph").workflow.model_dump()
    unknown, endless = make_task("Unknown"), make_task("Endless")
    unknown.workflow = {**graph, "tasks": [{**graph["tasks"][0], "operator": "check"}]}
    endless.workflow = {
        **graph,
        "config": {**graph["config"], "max_steps": 3},
        "steps": [{"source": "0", "target": "0"}],
    }
    calls = {
        "refused": execute(client, make_task(marked)),
        "unknown_operator": execute(client, unknown),
        "endless": execute(client, endless),
        "among_others": execute(client, [make_task("First"), make_task(marked), make_task("Last")]),
    }
    seen = dict(zip(calls, await asyncio.gather(*calls.values()), strict=True))
    return {**seen, "arrivals": count_arrivals(client)}


run(fail)
