"""``network status``: what the hub says, for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dria_magpie.cli.text import printable

if TYPE_CHECKING:
    from dria_magpie.network.server import NetworkHome


async def read_status(home: NetworkHome) -> dict[str, Any]:
    """Ask the hub of a network.

    Raises:
        NetworkError: the broker or the hub is not there.
    """
    from dria_magpie.network.broker import Broker
    from dria_magpie.network.hub import STATUS

    broker = Broker(home.local_url, home.credentials("hub"))
    await broker.connect()
    try:
        answer = await broker.ask(STATUS, b"")
    finally:
        await broker.aclose()
    told: dict[str, Any] = json.loads(answer.data)
    return told


def describe(told: dict[str, Any]) -> str:
    """Put what the hub says in lines."""
    lines = [f"{told['running']} tasks are worked on"]
    for node in told["nodes"]:
        failures = ", ".join(f"{n} {kind}" for kind, n in node["failures"].items() if n)
        lines.append(
            f"node {node['name'] or node['address']}: {', '.join(node['models'])}; "
            f"{node['running']} of {node['slots']} slots in use, {node['completed']} completed, "
            f"{failures or 'no failures'}, reputation {node['reputation']}, "
            f"seen {node['last_seen_seconds']} s ago"
            + (f"; idle: {node['idle']}" if node["idle"] else "")
        )
    for queue in told["queues"]:
        models = ", ".join(queue["models"]) or "any model"
        why = f": {queue['why']}" if queue["waiting"] and queue["why"] else ""
        lines.append(f"queue of {queue['client']} for {models}: {queue['waiting']} wait{why}")
    return "\n".join(map(printable, lines))
