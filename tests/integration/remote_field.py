"""A network over a real broker, with its hub and its nodes in the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

from dria_magpie import Node
from dria_magpie.models import Engine
from dria_magpie.network.agent import Agent
from dria_magpie.network.broker import Broker
from dria_magpie.network.hub import Hub
from dria_magpie.network.remote import RemoteNetwork
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.signing import NodeKey
from tests.ports import find_ports


def make_home(folder: Path) -> NetworkHome:
    return NetworkHome.create(folder / "net", port=find_ports())


@asynccontextmanager
async def running_agent(home: NetworkHome, engines: Sequence[Engine], slots: int | None = None):
    credentials = home.invite("node", f"node-{token_hex(4)}")
    broker = Broker(home.local_url, credentials)
    agent = Agent(Node(engines, slots=slots), broker, NodeKey.from_hex(credentials.node_key or ""))
    serving = asyncio.create_task(agent.serve())
    try:
        yield agent
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def running_hub(home: NetworkHome, **settings: object) -> AsyncIterator[Hub]:
    hub = Hub(home.local_url, home.credentials("hub"), **settings)  # type: ignore[arg-type]
    await hub.start()
    try:
        yield hub
    finally:
        await hub.aclose()


async def wait_for_nodes(hub: Hub, count: int) -> None:
    async with asyncio.timeout(10):
        while await _count_nodes(hub) < count:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.01)


async def _count_nodes(hub: Hub) -> int:
    return sum(node["last_seen_seconds"] < 5 for node in (await hub.status())["nodes"])


def join(home: NetworkHome, **options: object) -> RemoteNetwork:
    credentials = home.invite("client", f"client-{token_hex(4)}")
    return RemoteNetwork(home.local_url, credentials, **options)  # type: ignore[arg-type]
