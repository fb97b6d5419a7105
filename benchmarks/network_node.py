"""A node that answers at once: ``python -m benchmarks.network_node URL CREDS``."""

from __future__ import annotations

import asyncio
import sys
import threading

from benchmarks.endpoint import ANSWER, MODEL
from dria_magpie import Node
from dria_magpie.network.agent import Agent
from dria_magpie.network.broker import Broker
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.signing import NodeKey
from dria_magpie.testing import ScriptedEngine


async def _serve(url: str, creds: str) -> None:
    credentials = Credentials.read(creds)
    key = NodeKey.from_hex(credentials.node_key or "")
    node = Node(ScriptedEngine(lambda _: ANSWER, models=[MODEL], slots=64))
    agent = Agent(node, Broker(url, credentials), key)
    loop = asyncio.get_running_loop()
    # It ends with whoever started it.
    ended = threading.Thread(
        target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(agent.drain)), daemon=True
    )
    ended.start()
    await agent.serve()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
