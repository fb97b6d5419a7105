"""A network with honest nodes and with members who speak its language by hand, to do harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from nats.aio.client import Client

from dria_magpie import Dria, MagPie, Node, Task, TaskResult
from dria_magpie.models import Turn
from dria_magpie.network.agent import Agent
from dria_magpie.network.assignment import Assignment, Beat
from dria_magpie.network.broker import Broker
from dria_magpie.network.credentials import Credentials
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.hub import Hub
from dria_magpie.network.order import Order, read_turns, write_turn
from dria_magpie.network.record import Record, RecordKind
from dria_magpie.network.remote import RemoteNetwork
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.server.leashed import Leashed
from dria_magpie.network.server.process import start_server
from dria_magpie.network.signing import NodeKey
from dria_magpie.testing import ScriptedEngine
from dria_magpie.workflow import (
    ExecutionState,
    Moved,
    NextCall,
    Outcome,
    Workflow,
    advance,
    take_answer,
)
from dria_magpie.workflow.replay import replay
from tests.ports import find_ports

MODEL = "m"
HONEST = "an honest answer"
FAKE = "a planted answer"
PATIENCE = 30.0


class Member:
    """Somebody with real credentials who speaks to the broker by hand."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.credentials = credentials
        self.token = credentials.token
        self.url = url
        self.complaints: list[str] = []
        self.closed = asyncio.Event()
        self.nats: Client

    async def open(self) -> None:
        async def keep(error: Exception) -> None:
            self.complaints.append(str(error))

        async def close() -> None:
            self.closed.set()

        self.nats = await connect_once(
            self.url, self.credentials, error_cb=keep, closed_cb=close, skip_subject_validation=True
        )

    async def aclose(self) -> None:
        await self.nats.close()

    async def is_refused(self, call: Any) -> bool:
        """Tell whether the broker forbids it; it says so before it answers a ping."""
        before = len(self.complaints)
        await call
        for _ in range(3):  # the first ping may overtake it on this side
            await self.nats.flush()
        return any("permissions violation" in said.lower() for said in self.complaints[before:])

    async def listen(self, subject: str) -> asyncio.Queue[Any]:
        came: asyncio.Queue[Any] = asyncio.Queue()

        async def keep(message: Any) -> None:
            came.put_nowait(message)

        await self.nats.subscribe(subject, cb=keep)
        return came


class Attacker(Member):
    """A node that its owner uses to do harm."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        super().__init__(url, credentials)
        self.key = NodeKey.from_hex(credentials.node_key or "")
        self.orders: asyncio.Queue[Assignment] = asyncio.Queue()
        self.taken = 0
        self._beating: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self.running: dict[str, Assignment] = {}

    async def open(self) -> None:
        await super().open()

        async def take(message: Any) -> None:
            assignment = Assignment.read(message.data)
            if assignment.nonce:
                self.taken += 1
                self.orders.put_nowait(assignment)
            else:
                self.running.pop(assignment.nonce, None)

        await self.nats.subscribe(f"work.{self.token}", cb=take)

    async def aclose(self) -> None:
        for task in (self._beating, self._answering):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await super().aclose()

    async def beat(
        self, *, slots: int = 1000, running: Sequence[str] = (), model: str = MODEL
    ) -> None:
        beat = Beat(models=(model,), slots=slots, running=tuple(running))
        await self.nats.publish(f"alive.{self.token}", beat.to_bytes())

    async def leave(self) -> None:
        """Say that it has no slots any more."""
        if self._beating:
            self._beating.cancel()
        if not self.nats.is_closed:
            await self.beat(slots=0)
            await self.nats.flush()

    def keep_beating(
        self,
        *,
        slots: int = 1000,
        every: float = 0.2,
        holding: bool = True,
        model: str = MODEL,
    ) -> None:
        """Say all the time that it is there, and that it works on what it was given."""

        async def go_on() -> None:
            while not self.nats.is_closed:
                held = tuple(self.running) if holding else ()
                await self.beat(slots=slots, running=held, model=model)
                await asyncio.sleep(every)

        self._beating = asyncio.create_task(go_on())

    def answer(self, how: Callable[[Assignment], Any]) -> None:
        """Do something with whatever it is given."""

        async def go_on() -> None:
            while True:
                assignment = await self.orders.get()
                self.running[assignment.nonce] = assignment
                await how(assignment)

        self._answering = asyncio.create_task(go_on())

    async def next_order(self) -> Assignment:
        async with asyncio.timeout(PATIENCE):
            return await self.orders.get()

    async def hand_in(self, payload: bytes, kind: str = "done") -> None:
        await self.nats.publish(f"node.{self.token}.{kind}", payload)
        await self.nats.flush()

    def make(self, assignment: Assignment, **changes: Any) -> tuple[Order, Record]:
        """Give what an honest node would have made of it, but for the words, not sealed."""
        order, before = Order.read(assignment.order), Record.read(assignment.record)
        turns = play(order, before, node=self.token, **changes)
        return order, replace(before, turns=(*before.turns, *map(write_turn, turns)))

    def seal(self, assignment: Assignment, kind: RecordKind = "done", **changes: Any) -> bytes:
        order, record = self.make(assignment, **changes)
        return record.sealed(order, self.key, assignment.nonce, kind).to_bytes()


def play(
    order: Order, before: Record, *, node: str, most: int = 99, text: str = FAKE, **said: Any
) -> list[Turn]:
    """Give the turns with which a run goes on to its end."""
    workflow = order.parse_workflow()
    state = next(replay(workflow, read_turns((*order.given, *before.turns)), seed=order.seed))
    turns: list[Turn] = []
    while len(turns) < most and isinstance(call := _go_on(workflow, state), NextCall):
        turn = Turn(**{"task_id": call.task_id, "text": text, "model": MODEL, "node": node, **said})
        state = take_answer(workflow, call, turn)
        turns.append(turn)
    return turns


def _go_on(workflow: Workflow, state: ExecutionState) -> Outcome:
    while isinstance(outcome := advance(workflow, state), Moved):
        state = outcome.state
    return outcome


@dataclass
class Field:
    """A network that runs: its broker is a process, the rest is here.

    Attributes:
        home: its directory.
        hub: its hub.
        barred: addresses that the hub has barred.
    """

    home: NetworkHome
    hub: Hub
    server: Leashed
    barred: list[str] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)
    serving: list[asyncio.Task[None]] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.home.local_url

    async def add_node(
        self, *, slots: int = 4, latency: float = 0.0, text: str = HONEST, engine: Any = None
    ) -> Agent:
        """Let an honest node in."""
        credentials = self.home.invite("node", f"node-{token_hex(4)}")
        engine = engine or ScriptedEngine(lambda _: text, models=[MODEL], latency=latency)
        broker = Broker(self.url, credentials)
        agent = Agent(
            Node(engine, slots=slots), broker, NodeKey.from_hex(credentials.node_key or "")
        )
        self.agents.append(agent)
        self.serving.append(asyncio.create_task(agent.serve()))
        await self.wait_for_node(agent._node.address)
        return agent

    async def add_attacker(self) -> Attacker:
        attacker = Attacker(self.url, self.home.invite("node", f"bad-{token_hex(4)}"))
        await attacker.open()
        self.members.append(attacker)
        return attacker

    async def dismiss(self, member: Member) -> None:
        """Have somebody leave; a node is given nothing more."""
        self.members.remove(member)
        if isinstance(member, Attacker):
            await member.leave()
        await member.aclose()

    async def add_client(self, name: str = "") -> Member:
        name = name or f"client-{token_hex(4)}"
        client = Member(self.url, self.home.invite("client", name))
        await client.open()
        self.members.append(client)
        return client

    async def add_owner(self) -> Member:
        """Give somebody who may do and hear everything."""
        owner = Member(self.url, self.home.credentials("hub"))
        await owner.open()
        self.members.append(owner)
        return owner

    def join(self, **options: Any) -> RemoteNetwork:
        """Give a client's network."""
        credentials = self.home.invite("client", f"client-{token_hex(4)}")
        return RemoteNetwork(self.url, credentials, **options)

    async def wait_for_node(self, address: str) -> None:
        await wait_until(lambda: address in self.hub._registry.roster.members)

    def reputation(self, address: str) -> Any:
        return self.hub._registry._earned[address]

    async def aclose(self) -> None:
        for member in self.members:
            await member.aclose()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)
        await self.hub.aclose()
        await self.server.stop()


async def wait_until(is_so: Callable[[], Any], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def make_field(folder: Path, **settings: Any) -> AsyncIterator[Field]:
    """Run a network without nodes; `settings` are the hub's."""
    home = NetworkHome.create(folder / "net", port=find_ports())
    server = await start_server(home)
    barred: list[str] = []
    settings = {"check_share": 0.0, "bar": barred.append, **settings}
    hub = Hub(home.local_url, home.credentials("hub"), **settings)
    try:
        await hub.start()
    except BaseException:
        server.kill()
        raise
    field = Field(home, hub, server, barred)
    try:
        yield field
    finally:
        await field.aclose()


def make_task(number: int = 0, turns: int = 1) -> Task:
    workflow = MagPie().workflow(f"a chemist {number}", "a cook", turns)
    return Task(workflow=workflow, models=[MODEL])


async def run_batch(
    network: RemoteNetwork, count: int, *, turns: int = 1, seconds: float = PATIENCE
) -> list[TaskResult]:
    """Run tasks; each must end in time."""
    async with asyncio.timeout(seconds), Dria(network) as dria:
        tasks = [make_task(number, turns) for number in range(count)]
        return [result async for result in dria.stream(iter(tasks))]


def write_task(graph: Any = None, **head: Any) -> bytes:
    """Give a task as it travels, whatever is in it."""
    said = {"models": [MODEL], "seed": 1, "again": False, **head}
    if graph is None:
        graph = Workflow.parse(make_task().workflow).model_dump()
    tasks = graph.get("tasks", []) if isinstance(graph, dict) else []
    filling = {
        "external_memory": graph.get("external_memory", {}) if isinstance(graph, dict) else {},
        "tasks": [{"sampling": task["sampling"]} if "sampling" in task else {} for task in tasks],
    }
    return "\n".join(map(json.dumps, (said, graph, filling))).encode()


@asynccontextmanager
async def asking(client: Member) -> AsyncIterator[Callable[..., Any]]:
    """Give a way to ask the hub by hand."""
    inbox = f"_INBOX.{client.token}.byhand"
    came = await client.listen(f"{inbox}.*")

    async def ask(verb: str, seconds: float = 10, **asked: Any) -> Any:
        question = json.dumps({"reply": f"{inbox}.1", **asked}).encode()
        await client.nats.publish(f"ask.{client.token}.{verb}", question)
        async with asyncio.timeout(seconds):
            return json.loads((await came.get()).data)

    with contextlib.suppress(asyncio.QueueEmpty):
        yield ask
