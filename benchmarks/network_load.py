"""What a network costs that has many nodes, or many tasks."""

from __future__ import annotations

import asyncio
import time

import psutil

from benchmarks.cost import PERSONAS, TURNS
from benchmarks.network_field import Field, running_network
from benchmarks.table import Figure, say
from dria_magpie import Dria, MagPie, Task
from dria_magpie.network.broker import Broker
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.order import write_order
from dria_magpie.network.pending import Pending
from dria_magpie.workflow import ExecutionState

CROWD = 1_000
QUEUED = 100_000
TIMED = 1_000
_WATCHED = 10.0
_LOOK = 0.05
# The broker drops what comes while 10,000 wait to be stored.
_AT_ONCE = 5_000


def measure(crowd: int = CROWD, queued: int = QUEUED) -> list[Figure]:
    """Watch a hub with many idle nodes, then one with many tasks."""
    return [*asyncio.run(_measure_crowd(crowd)), *asyncio.run(_measure_queue(queued))]


async def _measure_crowd(crowd: int) -> list[Figure]:
    async with running_network(1) as field:
        hub = psutil.Process(field.hub.pid)
        before = _megabytes(hub)
        await asyncio.to_thread(field.add_nodes, crowd)
        await field.wait_for(crowd + 1)
        began = hub.cpu_times()
        await asyncio.sleep(_WATCHED)
        ended = hub.cpu_times()
        busy = ended.user + ended.system - began.user - began.system
        grown = _megabytes(hub) - before
        say(f"{crowd} idle nodes: {grown:.1f} MB, {busy / _WATCHED:.1%} of a core")
    what = f"hub, {crowd:,} idle nodes"
    return [
        Figure(what=f"{what}, MB", ours=grown, digits=1),
        Figure(what=f"{what}, % of a core", ours=100 * busy / _WATCHED, digits=1),
    ]


async def _measure_queue(queued: int) -> list[Figure]:
    async with running_network(0) as field:
        hub = psutil.Process(field.hub.pid)
        # Somebody serves the model, and is busy for ever.
        field.add_nodes(1, hold=True)
        await field.wait_for(1)
        few = await _fill(field, TIMED)
        small = _megabytes(hub)
        started = time.perf_counter()
        await _fill(field, queued, route=few)
        say(f"{queued:,} tasks were stored in {time.perf_counter() - started:.1f} s")
        large = _megabytes(hub)
        say(f"{queued:,} tasks: {small:.1f} MB, then {large:.1f} MB")
        field.add_nodes(1)
        field.add_nodes(1)
        await field.wait_for(3)
        first = await _time_tasks(field)
        say(f"{TIMED} tasks of another client took {first:.1f} s before them")
    async with running_network(2) as field:
        alone = await _time_tasks(field)
        say(f"{TIMED} tasks alone took {alone:.1f} s")
    what = f"queue of {queued:,}"
    # The other client's tasks are served by turns with those of the queue.
    return [
        Figure(what=f"{what}, hub grows by MB", ours=large - small, goal=10, most=True, digits=1),
        Figure(what=f"{what}, s a task by turns", ours=first / 2, bare=alone, goal=1.5, most=True),
    ]


async def _fill(field: Field, count: int, route: str = "") -> str:
    """Hand tasks in, wait for no result, and give their queue."""
    credentials = Credentials.read(field.client)
    broker = Broker(field.url, credentials)
    await broker.connect()
    workflow = MagPie().workflow(*PERSONAS, TURNS)
    task, state = Task(workflow=workflow), ExecutionState.start(workflow)
    payload = write_order(task, workflow, state)
    if not route:
        pending = Pending(broker, credentials.token, "filling")
        await pending.start()
        route = await pending.open_route((), workflow)
    stored = await _count_tasks(field)
    for number in range(count):
        await broker.publish(f"task.{credentials.token}.{route}.run{count}.{number}", payload)
        if number % _AT_ONCE == 0 or number == count - 1:
            await broker.flush()
            while await _count_tasks(field) <= stored + number:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_LOOK)
    await broker.aclose()
    return route


async def _count_tasks(field: Field) -> int:
    """Give how many tasks the broker has stored so far."""
    broker = Broker(field.url, field.home.credentials("hub"))
    await broker.connect()
    try:
        return await Streams(broker).last("TASKS")
    finally:
        await broker.aclose()


async def _time_tasks(field: Field) -> float:
    """Give the seconds that some tasks of a new client take."""
    name = "timed"
    field.home.invite("client", name)
    workflow = MagPie().workflow(*PERSONAS, TURNS)
    async with Dria(field.url, creds=field.home.files.creds(name)) as dria:
        started = time.perf_counter()
        async for result in dria.stream(Task(workflow=workflow) for _ in range(TIMED)):
            if result.error:
                raise SystemExit(f"a dialogue failed: {result.error}")
        return time.perf_counter() - started


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20
