"""A program that floods a network: ``python -m tests.acceptance.network_flood URL CREDS KIND``."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from dria_magpie.network.assignment import Beat
from dria_magpie.network.credentials import Credentials
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.order import Order
from dria_magpie.network.record import Record
from dria_magpie.network.signing import NodeKey
from tests.acceptance.network_field import MODEL, write_task

_LARGE = 500_000


async def publish_always(nc: Any, subject: Callable[[int], str], payload: bytes) -> None:
    for number in itertools.count():
        await nc.publish(subject(number), payload)
        if number % 50 == 0 or len(payload) > 100_000:
            await nc.flush()


def _stale(credentials: Credentials, kind: Any, size: int) -> bytes:
    """Give a record that is signed, but for an assignment that never was."""
    order, key = Order.read(write_task()), NodeKey.from_hex(credentials.node_key or "")
    record = Record(turns=("x" * size,))
    return record.sealed(order, key, "0" * 16, kind).to_bytes()


def _beat(**said: Any) -> bytes:
    return Beat(**{"models": (MODEL,), "slots": 0, **said}).to_bytes()


async def flood(url: str, credentials: Credentials, kind: str, nc: Any) -> None:  # noqa: C901
    me = credentials.token

    async def go_on(subject: str, payload: bytes) -> None:
        await publish_always(nc, lambda _: subject, payload)

    async def both(payload: bytes) -> None:
        await asyncio.gather(go_on(f"node.{me}.done", payload), go_on(f"node.{me}.state", payload))

    async def make_subscriptions() -> None:
        for number in itertools.count():
            await nc.subscribe(f"_INBOX.{me}.{number}")
            await nc.flush()

    async def make_connections() -> None:
        kept = []
        while True:
            with contextlib.suppress(Exception):
                kept.append(await connect_once(url, credentials))
                await kept[-1].publish(f"node.{me}.done", b"x")

    async def never_read() -> None:
        """Make the hub say much, and leave it unread."""
        await nc.subscribe(f"work.{me}")
        nc._reading_task.cancel()
        running = tuple(f"{number:0300d}" for number in range(300))
        while True:
            await nc.publish(f"alive.{me}", _beat(running=running))
            await nc._flush_pending()
            await asyncio.sleep(0)

    async def ask(verb: str, **asked: Any) -> None:
        question = json.dumps({"reply": f"_INBOX.{me}.x", **asked}).encode()
        await go_on(f"ask.{me}.{verb}", question)

    async def open_queues() -> None:
        for number in itertools.count():
            asked = {"route": f"r{number}", "models": [MODEL], "named": [], "open": True}
            question = json.dumps({"reply": f"_INBOX.{me}.x", **asked}).encode()
            await nc.publish(f"ask.{me}.lane", question)
            await nc.publish(f"task.{me}.r{number}.x.1", write_task())
            await nc.flush()

    async def hand_in_tasks() -> None:
        asked = {"route": "r", "models": [MODEL], "named": [], "open": True}
        question = json.dumps({"reply": f"_INBOX.{me}.x", **asked}).encode()
        await nc.publish(f"ask.{me}.lane", question)
        bad = write_task({"tasks": [{"inputs": [{}] * 10}] * 8000})
        for number in itertools.count():
            await nc.publish(f"task.{me}.r.x.{number}", bad)
            await nc.flush()

    ids = [f"{number:x}" for number in range(1000)]
    kinds: dict[str, Callable[[], Awaitable[None]]] = {
        "garbage results": lambda: both(b"{" * 300),
        "stale results": lambda: both(_stale(credentials, "done", 2000)),
        "stale states": lambda: both(_stale(credentials, "state", 2000)),
        "large results": lambda: both(_stale(credentials, "done", _LARGE)),
        "beats": lambda: go_on(f"alive.{me}", _beat()),
        "bad beats": lambda: go_on(f"alive.{me}", b"[" * 1000),
        "beats with many nonces": lambda: go_on(
            f"alive.{me}", _beat(running=tuple(f"{n:08d}" for n in range(9000)))
        ),
        "unknown subjects": lambda: publish_always(nc, lambda n: f"node.{me}.x{n}", b"x" * 10_000),
        "subscriptions": make_subscriptions,
        "connections": make_connections,
        "never reading": never_read,
        "questions": lambda: ask("hello"),
        "many results asked": lambda: ask(
            "results", run="x", ids=ids, routes=dict.fromkeys(ids, "r")
        ),
        "queues": open_queues,
        "tasks": hand_in_tasks,
    }
    await kinds[kind]()


async def main(url: str, creds: str, kind: str) -> None:
    credentials = Credentials.read(creds)
    told = False
    while True:
        # It comes back whenever it is cut off.
        with contextlib.suppress(Exception):
            nc = await connect_once(url, credentials)
            if not told:
                print("flooding", flush=True)
                told = True
            await flood(url, credentials, kind, nc)
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
