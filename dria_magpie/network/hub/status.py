"""What a network does, and why tasks wait and nodes idle."""

from __future__ import annotations

import time
from typing import Any

from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.lanes import Lanes
from dria_magpie.network.hub.registry import Registry


async def describe_hub(registry: Registry, board: Board, lanes: Lanes) -> dict[str, Any]:
    """Give nodes and queues, as JSON takes them."""
    now = time.time()
    unread = await lanes.count()
    waiting = board.waiting()
    wanted = [jobs[0].wanted for jobs in waiting.values()]
    nodes = [
        {
            "address": member.address,
            "name": member.name,
            "models": list(member.models),
            "slots": member.slots,
            "free": member.free(now),
            "running": member.running,
            "completed": member.reputation.completed,
            "failures": {
                "rejected": member.reputation.rejected,
                "timed out": member.reputation.timed_out,
                "invalid": member.reputation.invalid,
                "disputed": member.reputation.disputed,
            },
            "reputation": round(member.reputation.score, 3),
            "last_seen_seconds": round(now - member.last_seen, 1),
            "idle": member.idle_reason(now, wanted),
        }
        for member in registry.roster.members.values()
    ]
    queues = [
        {
            "client": client,
            "models": board.models((client, route)),
            "waiting": unread.get((client, route), 0) + len(waiting.get((client, route), ())),
            "why": board.reasons.get((client, route), ""),
        }
        for client, route in sorted({*unread, *waiting})
    ]
    return {"nodes": nodes, "queues": queues, "running": board.running}
