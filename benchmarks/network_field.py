"""A network for measurements: broker, hub and nodes, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from dria_magpie.network.broker import Broker
from dria_magpie.network.hub import STATUS
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.server.leashed import Leashed
from dria_magpie.network.server.process import start_server
from dria_magpie.network.server.running import hub_command

PATIENCE = 30.0


@dataclass(frozen=True)
class Field:
    """A network that runs.

    Attributes:
        home: its directory.
        client: the file with a client's credentials.
        hub: the hub's process.
        stack: ends its processes.
    """

    home: NetworkHome
    client: Path
    hub: Leashed
    stack: contextlib.ExitStack

    def add_nodes(self, count: int, *, hold: bool = False) -> None:
        """Start some nodes in a process of their own; those that hold never answer."""
        names = [f"node-{token_hex(6)}" for _ in range(count)]
        for name in names:
            self.home.invite("node", name)
        creds = [str(self.home.files.creds(name)) for name in names]
        self.stack.enter_context(_running_nodes(self.home.local_url, hold, creds))

    @property
    def url(self) -> str:
        """Where the broker is."""
        return self.home.local_url

    async def status(self) -> dict[str, Any]:
        """Ask the hub."""
        broker = Broker(self.url, self.home.credentials("hub"))
        await broker.connect()
        try:
            told: dict[str, Any] = json.loads((await broker.ask(STATUS, b"")).data)
        finally:
            await broker.aclose()
        return told

    async def wait_for(self, nodes: int) -> None:
        """Wait until so many nodes are there."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(Exception):
                    if len((await self.status())["nodes"]) >= nodes:
                        return
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running_network(nodes: int) -> AsyncIterator[Field]:
    """Run a network with some nodes that answer at once."""
    os.environ.setdefault("DRIA_STORE_KEY", "a key for measurements and nothing else")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = NetworkHome.create(Path(folder) / "net", port=_free_port())
        home.invite("client", "bench")
        server = await start_server(home)
        stack.callback(server.kill)
        with Path(folder, "hub.log").open("wb") as log:  # noqa: ASYNC230 - once, at the start
            hub = Leashed(hub_command(home), stderr=log)
        stack.callback(hub.kill)
        field = Field(home, home.files.creds("bench"), hub, stack)
        for _ in range(nodes):
            field.add_nodes(1)
        await field.wait_for(nodes)
        yield field


@contextlib.contextmanager
def _running_nodes(url: str, hold: bool, creds: list[str]) -> Iterator[Any]:
    command = [sys.executable, "-m", "benchmarks.network_node", url, str(int(hold)), *creds]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
