"""What the tests of the gateway work with: an endpoint, a gateway before it, programs, keys."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.gateway_process import GEMMA, GatewayProcess, Program
from tests.acceptance.gateway_wire import RawClient
from tests.acceptance.mock_endpoint import MockEndpoint, mock_endpoint
from tests.acceptance.network_bench import make_network

ANSWER = "small answers to None"


@dataclass
class Field:
    """A gateway, the endpoint behind it, and the programs that use it."""

    folder: Path
    gateway: GatewayProcess
    endpoint: MockEndpoint
    programs: dict[str, Program] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Give the key of that name; make it when it is first asked for."""
        if name not in self.keys:
            self.keys[name] = self.gateway.make_key(name)
        return self.keys[name]

    def start(
        self, label: str, program: str, *words: str, url: str = "", **variables: str
    ) -> Program:
        """Start a program with a key of its own."""
        folder = self.folder / label
        started = Program(
            program, url or self.gateway.url, self.key(label), folder, *words, **variables
        )
        self.programs[label] = started
        return started

    def seen(self, label: str) -> dict[str, Any]:
        """Wait for a program's end, and give what it saw."""
        return self.programs[label].seen()

    def client_of(self, name: str) -> RawClient:
        """Give a client by hand, with the key of that name."""
        return RawClient(self.gateway.url, self.key(name))

    def end(self) -> None:
        for program in self.programs.values():
            program.kill()


def make_field(stack: ExitStack, folder: Path, *options: str) -> Field:
    """Start an endpoint and a gateway before it."""
    folder.mkdir(parents=True)
    endpoint = stack.enter_context(mock_endpoint(folder / "calls.jsonl"))
    place = ["--endpoint", endpoint.url, "--serve-as", f"{GEMMA}=small", *options]
    gateway = stack.enter_context(GatewayProcess(folder, *place))
    made = Field(folder, gateway, endpoint)
    stack.callback(made.end)
    return made


def make_field_on_network(stack: ExitStack, folder: Path) -> Field:
    """Start an endpoint, a network with a node before it, and a gateway on the network."""
    folder.mkdir(parents=True)
    endpoint = stack.enter_context(mock_endpoint(folder / "calls.jsonl"))
    net = stack.enter_context(make_network(folder, endpoint, nodes=["a"], clients=["gateway"]))
    net.start_up()
    net.start_nodes("a", slots=12)
    place = ["--network", net.url, "--creds", str(net.creds("gateway"))]
    served = ["--serve-as", f"{GEMMA}=small"]
    gateway = stack.enter_context(GatewayProcess(folder / "gateway", *place, *served))
    made = Field(folder / "gateway", gateway, endpoint)
    stack.callback(made.end)
    return made


def check_whole(seen: dict[str, Any], **asked: int) -> None:
    """Check that the result of each task came, by names and numbers: once, taken in once, too."""
    wanted = [f"{name} {place}" for name, number in asked.items() for place in range(number)]
    topics = Counter(result["input"]["topic"] for result in seen["results"])
    assert topics == dict.fromkeys(wanted, 1)
    assert {result["text"] for result in seen["results"]} == {ANSWER}
    assert {result["model"] for result in seen["results"]} == {"small"}
    check_arrivals(seen, len(wanted))


def check_arrivals(seen: dict[str, Any], number: int) -> None:
    """Check that the client took in so many results, none of them twice."""
    assert list(seen["arrivals"].values()) == [1] * number
