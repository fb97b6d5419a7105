"""Every factory of the SDK, those that search the web aside."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from typing import Any, Literal, get_args, get_origin

import dria.factory
from dria.factory.workflows.template import SingletonTemplate
from dria.models import Task
from program import MODEL, execute, run

_SEARCHING = {"SearchWeb"}


def fill(factory: type[SingletonTemplate]) -> SingletonTemplate:
    """Make one with something in each field."""
    fields = {name: field for name, field in factory.model_fields.items() if name != "params"}
    return factory(**{name: _invent(name, field.annotation) for name, field in fields.items()})


def _invent(name: str, kind: Any) -> Any:
    if kind is str:
        return f"some {name}"
    if kind is int:
        return 2
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    assert kind == list[str] or get_args(kind) == (str,), (name, kind)
    return [f"{name} {number}" for number in range(3)]


async def run_factories(client: Any) -> dict[str, Any]:
    for module in pkgutil.walk_packages(dria.factory.__path__, "dria.factory."):
        importlib.import_module(module.name)
    factories = {made.__name__: made for made in SingletonTemplate.__subclasses__()}
    tasks = {
        name: Task(workflow=fill(made).workflow(), models=[MODEL], dataset_id="tests")
        for name, made in factories.items()
        if name not in _SEARCHING
    }
    seen = await asyncio.gather(*(execute(client, task) for task in tasks.values()))
    return dict(zip(tasks, seen, strict=True))


run(run_factories)
