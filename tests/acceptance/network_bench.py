"""What the tests of networks work with: a network, its nodes and clients, an endpoint.

::

    with make_network(tmp_path, endpoint, nodes=["a", "b"]) as net:
        net.start_up()
        node = net.start_node("a", slots=4)
        client = net.start_client("me", run_id="first", rows=100, turns=3)
        net.kill("hub")
        assert client.wait() == 0
        assert len(client.results()) == 100

Everything is a process of its own, as a user starts it, with a file for what it says.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from tests.acceptance.commands import MAGPIE, run
from tests.acceptance.mock_endpoint import MockEndpoint
from tests.acceptance.sweep_bench import PATIENCE, Running
from tests.ports import find_ports

STORE_KEY = "a key for tests, and for tests only"
Program = Literal["broker", "hub"]

# A naive program: it hands everything in, whatever it did before.
CLIENT = """
import asyncio, json, sys
from dria_magpie import Dria, MagPie, Sampling, Task

def make(number, turns):
    graph = MagPie().workflow(
        f"Asker {number}.", "A patient teacher", turns,
        instructor_sampling=Sampling(seed=1000 * number),
        responder_sampling=Sampling(seed=1000 * number + 500),
    )
    return Task(workflow=graph, id=f"task-{number}", models=["small"])

async def main(url, creds, run_id, rows, turns, timeout):
    tasks = (make(number, int(turns)) for number in range(int(rows)))
    async with Dria(url, creds=creds, run_id=run_id or None) as dria:
        async for result in dria.stream(tasks, timeout=float(timeout) or None):
            told = {"id": result.id, "error": repr(result.error) if result.error else None,
                    "node": result.node, "seconds": result.seconds, "result": result.result,
                    "turns": [[turn.node, turn.text] for turn in result.turns]}
            print(json.dumps(told), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Client(Running):
    """A client's program; it writes a line for each result."""

    def __init__(self, command: list[str], folder: Path, number: int) -> None:
        self._out = folder / f"results-{number}.jsonl"
        super().__init__(command, folder / f"client-{number}", self._out)

    def results(self) -> list[dict[str, Any]]:
        """Give the results that it was told so far; what a kill has cut off does not count."""
        lines = self._out.read_text("utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


class NetworkBench:
    """A network in a directory, and the processes that were started for it."""

    def __init__(self, folder: Path, endpoint: MockEndpoint) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.home = folder / "net"
        self.port = find_ports()
        self.started: list[Running] = []
        self.up: Running | None = None
        self._killed: set[int] = set()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def creds(self, name: str) -> Path:
        return self.home / "creds" / f"{name}.creds"

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = run(MAGPIE, *words, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done

    def make(self, nodes: Sequence[str], clients: Sequence[str]) -> None:
        """Make the network, and let members in."""
        self.ask("network", "init", str(self.home), "--port", str(self.port))
        invited = [word for name in nodes for word in ("--node", name)]
        invited += [word for name in clients for word in ("--client", name)]
        self.ask("network", "invite", str(self.home), *invited)

    def start_up(self) -> Running:
        """Run broker and hub, and wait until both are there."""
        name = f"up-{len(self.started)}"
        self.up = self._start([MAGPIE, "network", "up", str(self.home)], name)
        self.up.wait_until(lambda: "ready: " in self.said)
        return self.up

    def start_node(self, name: str, *options: str, endpoint: bool = True) -> Running:
        """Run a node and give its process; it may not have come to the hub yet."""
        command = [MAGPIE, "node", "--network", self.url, "--creds", str(self.creds(name))]
        served = ["--endpoint", self.endpoint.url] if endpoint else []
        return self._start([*command, *served, *options], f"node-{name}-{len(self.started)}")

    def start_nodes(self, *names: str, slots: int) -> list[Running]:
        """Run nodes, and wait until the hub knows all of them."""
        known = self.count("node_came")
        nodes = [self.start_node(name, "--slots", str(slots)) for name in names]
        nodes[0].wait_until(lambda: self.count("node_came") >= known + len(names))
        return nodes

    def start_client(
        self, name: str, *, rows: int, turns: int, run_id: str = "", timeout: float = 0
    ) -> Client:
        """Run a program that hands in so many tasks."""
        said = [self.url, str(self.creds(name)), run_id, str(rows), str(turns), str(timeout)]
        client = Client([sys.executable, "-c", CLIENT, *said], self.folder, len(self.started))
        self.started.append(client)
        return client

    @property
    def said(self) -> str:
        """What broker and hub said."""
        return self.up.stderr if self.up else ""

    def events(self) -> list[dict[str, Any]]:
        """Give the lines of the log of broker and hub."""
        lines = self.said.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def status(self) -> dict[str, Any]:
        return json.loads(self.ask("network", "status", str(self.home), "--json").stdout)

    def count(self, action: str) -> int:
        """Give how often something was said to have happened."""
        return sum(event["action"] == action for event in self.events())

    def pid(self, program: Program) -> int:
        """Give the process id of a program that runs now."""
        starts = [e for e in self.events() if e.get("program") == program and "exit_code" not in e]
        return starts[-1]["pid"]

    def kill(self, program: Program) -> None:
        """End a program as a power cut would; `network up` starts it again."""
        self._killed.add(self.pid(program))
        os.kill(self.pid(program), signal.SIGKILL)

    def wait_for_broker(self) -> None:
        """Wait until it is there again, as who comes while it is away is told so and ends."""
        assert self.up
        self.up.wait_until(lambda: self.pid("broker") not in self._killed)

    def aclose(self) -> None:
        for running in self.started:
            if running is not self.up:
                running.kill()
        if self.up:
            self.up.send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.up.process.wait(15)
            self.up.kill()

    def _start(self, command: list[str], name: str) -> Running:
        running = Running(command, self.folder / f"{name}.log")
        self.started.append(running)
        return running


@contextlib.contextmanager
def make_network(
    folder: Path,
    endpoint: MockEndpoint,
    *,
    nodes: Sequence[str] = ("a", "b"),
    clients: Sequence[str] = ("me",),
) -> Iterator[NetworkBench]:
    """Give a network that does not run yet; what is started for it is ended with it."""
    endpoint.start_log(folder / "calls.jsonl")
    bench = NetworkBench(folder, endpoint)
    bench.make(nodes, clients)
    try:
        yield bench
    finally:
        bench.aclose()
