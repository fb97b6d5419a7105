"""What the programs have in common: a client, tasks, and a file for what they saw."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from dria.client import Dria
from dria.factory import GenerateSubtopics
from dria.models import Model, Task, TaskResult

MODEL = Model.GEMMA2_9B_FP16


def run(scenario: Callable[..., Awaitable[dict[str, Any]]]) -> None:
    """Play a scenario with a client of the gateway, and keep what it saw."""
    url, key, out, *words = sys.argv[1:]
    client = Dria(rpc_token=key)
    client.rpc.base_url = url
    seen = asyncio.run(scenario(client, *words))
    Path(out).write_text(json.dumps(seen), "utf-8")


def make_task(topic: str) -> Task:
    """Give a task of one generation that nobody mistakes for another."""
    workflow = GenerateSubtopics(topic=topic).workflow()
    return Task(workflow=workflow, models=[MODEL], dataset_id="tests")


async def execute(client: Dria, tasks: Task | Sequence[Task], timeout: int = 90) -> dict[str, Any]:
    """Execute tasks, and tell what came and how long it took."""
    started = time.monotonic()
    results = await client.execute(tasks if isinstance(tasks, Task) else list(tasks), timeout)
    return {"seconds": time.monotonic() - started, "results": [_tell(r) for r in results or []]}


def count_arrivals(client: Dria) -> dict[str, int]:
    """Give how often the result of each task was taken in."""
    return {name.partition(":")[2]: len(came) for name, came in client.kv.queue.items()}


def _tell(result: TaskResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "input": result.task_input,
        "text": result.result,
        "model": result.model,
    }
