"""Nodes in one process: ``python -m benchmarks.network_node URL HOLD CREDS...``.

They answer at once; with HOLD 1 never, so that their networks' tasks wait.
"""

from __future__ import annotations

import asyncio
import sys
import threading

from benchmarks.endpoint import ANSWER, MODEL
from dria_magpie import GenerationRequest, Node
from dria_magpie.network.agent import Agent
from dria_magpie.network.broker import Broker
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.loop import run
from dria_magpie.network.signing import NodeKey
from dria_magpie.testing import ScriptedEngine


async def _hold(_: GenerationRequest) -> str:
    await asyncio.Event().wait()
    return ANSWER


def _make_agent(url: str, hold: bool, creds: str) -> Agent:
    credentials = Credentials.read(creds)
    engine = ScriptedEngine(_hold if hold else lambda _: ANSWER, models=[MODEL], slots=64)
    key = NodeKey.from_hex(credentials.node_key or "")
    return Agent(Node(engine, slots=1 if hold else None), Broker(url, credentials), key)


async def _serve(url: str, hold: bool, creds: list[str]) -> None:
    agents = [_make_agent(url, hold, path) for path in creds]
    loop = asyncio.get_running_loop()

    def end() -> None:
        sys.stdin.read()  # it ends with whoever started this
        for agent in agents:
            loop.call_soon_threadsafe(agent.drain)

    threading.Thread(target=end, daemon=True).start()
    await asyncio.gather(*(agent.serve() for agent in agents))


if __name__ == "__main__":
    run(_serve(sys.argv[1], sys.argv[2] == "1", sys.argv[3:]))
