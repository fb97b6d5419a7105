"""A few words of the model that runs in the gateway itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from dria.datasets import Prompt
from dria.factory import MagPie, Simple
from dria.models import Model, Task
from program import MODEL, count_arrivals, execute, run
from pydantic import BaseModel


class Verdict(BaseModel):
    """What a model fills in."""

    good: bool


def make_task(workflow: Any, model: Model = MODEL) -> Task:
    return Task(workflow=workflow, models=[model], dataset_id="tests")


async def talk(client: Any) -> dict[str, Any]:
    few = SimpleNamespace(max_tokens=16)
    dialogue = MagPie(instructor_persona="A chemist", responding_persona="A cook").workflow()
    dialogue.config.max_tokens = 24
    prompt = Prompt("Is {{what}} good?", Verdict)
    talking, filling = await asyncio.gather(
        execute(
            client,
            [make_task(Simple(prompt="Say hello.", params=few).workflow()), make_task(dialogue)],
        ),
        execute(client, make_task(prompt.workflow(what="bread"), Model.GPT4O)),
    )
    results = talking["results"] + filling["results"]
    parsed = prompt.callback([SimpleNamespace(result=one["text"]) for one in filling["results"]])
    return {
        "results": results,
        "filled": [verdict.good for verdict in parsed],
        "arrivals": count_arrivals(client),
    }


run(talk)
