"""Workflows as dicts: the SDK's, and those of this package."""

from __future__ import annotations

import asyncio
from typing import Any

from dria.factory import MagPie
from dria.models import Task
from program import MODEL, execute, run

import dria_magpie

PERSONAS = {"instructor_persona": "A chemist", "responding_persona": "A cook"}


def make_task(workflow: Any) -> Task:
    return Task(workflow=workflow, models=[MODEL], dataset_id="tests")


async def run_own_magpie(client: Any) -> dict[str, Any]:
    """Run a graph of this package with client, task and model of the SDK."""
    magpie = dria_magpie.MagPie()
    graph = magpie.workflow("A curious scientist", "An AI assistant", num_turns=3)
    results = await client.execute(make_task(graph.model_dump()), timeout=60)
    return {"parsed": magpie.parse_result(results)}


async def run_workflows(client: Any) -> dict[str, Any]:
    theirs = MagPie(**PERSONAS, num_turns=2)
    calls = {
        "whole": execute(client, make_task(theirs.workflow().model_dump())),
        "trimmed": execute(client, make_task(theirs.workflow().model_dump(exclude_none=True))),
        "own": run_own_magpie(client),
    }
    seen = await asyncio.gather(*calls.values(), return_exceptions=True)
    return {
        name: repr(one) if isinstance(one, BaseException) else one
        for name, one in zip(calls, seen, strict=True)
    }


run(run_workflows)
