"""`RemoteNetwork`: a network of machines, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from dria_magpie.errors import (
    DrainedError,
    DriaMagpieError,
    InvalidInputError,
    NetworkError,
)
from dria_magpie.models import NodeInfo, Task, TaskResult, Turn
from dria_magpie.network.arrival import Arrival
from dria_magpie.network.broker import Broker
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.order import write_order
from dria_magpie.network.pending import Pending, Ticket
from dria_magpie.node import Event
from dria_magpie.node.results import make_result
from dria_magpie.workflow import ExecutionState, Failed, Finished, Workflow
from dria_magpie.workflow.replay import find_end

logger = logging.getLogger(__name__)
_HELLO, _CLOSING = 10.0, 5.0
_LOOK = 10.0
_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RemoteNetwork:
    """Nodes on other machines, behind a broker and a hub.

    Args:
        url: of the broker: ``nats://``, ``tls://``, ``ws://`` or ``wss://``.
        credentials: a client's, or the file that has them.
        run_id: a name for what this program does. Whoever comes back under it gets the results
            that came meanwhile; a task that has its result is not run again.

    Raises:
        InvalidInputError: the credentials cannot be read or are not a client's, or a name that
            cannot be one.

    Example::

        network = RemoteNetwork("nats://127.0.0.1:4222", "me.creds", run_id="first")
        async with Dria(network) as dria:
            ...
    """

    def __init__(
        self, url: str, credentials: Credentials | str | Path, *, run_id: str | None = None
    ) -> None:
        if not isinstance(credentials, Credentials):
            credentials = Credentials.read(credentials)
        if credentials.kind not in {"client", "hub"}:
            raise InvalidInputError(
                f"a {credentials.kind}'s credentials hand in no tasks; take a client's "
                "(dria-magpie network invite DIR --client NAME)"
            )
        if run_id is not None and not _RUN.fullmatch(run_id):
            raise InvalidInputError(
                f"run_id takes up to 64 letters, digits, - and _, not {run_id!r:.80}"
            )
        self._url = url
        self._credentials = credentials
        self._named = run_id is not None
        self._run = run_id or ""
        self._broker: Broker | None = None
        self._pending: Pending | None = None
        self._nodes: tuple[NodeInfo, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The nodes that were there some seconds ago."""
        return self._nodes

    def check(self, task: Task) -> None:
        """Refuse what is no workflow; who serves what is known once the hub is asked."""
        Workflow.parse(task.workflow)

    async def start(self) -> None:
        """Connect, and ask the hub for its nodes.

        Raises:
            NetworkError: the broker or the hub is not there, or refuses.
        """
        if self._broker is not None:
            return
        if not self._named:
            self._run = secrets.token_hex(12)  # the hub takes no more of a run that was closed
        broker = Broker(self._url, self._credentials)
        broker.on_connect = self._reconnect
        pending = Pending(broker, self._credentials.token, self._run)
        await broker.connect()
        try:
            await pending.start()
            self._nodes = await _ask_for_nodes(pending)
        except BaseException:
            await broker.aclose()
            raise
        self._broker, self._pending = broker, pending
        self._begin(pending.look_after())
        self._begin(self._watch_nodes(pending))

    def drain(self) -> None:
        """Wait for nothing more; what is under way in the network of a named run goes on there."""
        if self._pending:
            self._pending.drain()

    async def aclose(self) -> None:
        """Disconnect. Results of a named run are kept for a week, those of others are deleted."""
        broker, self._broker = self._broker, None
        pending, self._pending = self._pending, None
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if broker is None or pending is None:
            return
        pending.close()
        with suppress(NetworkError, TimeoutError):
            async with asyncio.timeout(_CLOSING if broker.is_up else 0):
                await asyncio.gather(*self._farewells)
                await pending.flush()
                if not self._named:
                    await pending.ask("close", {"run": self._run})
        await broker.aclose()

    def forget(self, task: Task, state: ExecutionState | None = None) -> None:
        """Have a result deleted that was taken, and will not be asked for again."""
        if self._named and self._pending:
            self._pending.collect(_name(task, Workflow.parse(task.workflow), state))

    async def run(
        self, task: Task, state: ExecutionState | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run a task somewhere in the network; see `Network.run`."""
        pending = self._pending
        try:
            if pending is None:
                raise NetworkError("the network is not started: await network.start() before a run")
            workflow = Workflow.parse(task.workflow)
            state = state or ExecutionState.start(workflow, seed=secrets.randbits(31))
            ended = _end_at_once(task, workflow, state)
            if ended:
                yield ended
                return
            ticket = await self._make_ticket(pending, task, workflow, state)
            payload = await self._wait(pending, ticket)
            result = Arrival(task, workflow, state, ticket.payload, payload)
        except DriaMagpieError as error:
            yield make_result(task, state, error=error)
            return
        # Of a run with a name, what came to nothing may come to something when it is asked again.
        if not self._named or result.has_failed:
            pending.collect(ticket.id)
        for event in result.events():
            yield event

    async def _make_ticket(
        self, pending: Pending, task: Task, workflow: Workflow, state: ExecutionState
    ) -> Ticket:
        route = await pending.open_route(tuple(task.models), workflow)
        payload = write_order(task, workflow, state, again=self._named)
        if not self._named:
            return Ticket(secrets.token_hex(16), route, payload)
        return Ticket(pending.number(_name(task, workflow, state)), route, payload)

    async def _wait(self, pending: Pending, ticket: Ticket) -> bytes:
        """Wait for a result; what is given up is taken back, unless the run has a name."""
        try:
            return await pending.obtain(ticket)
        except DrainedError:
            if not self._named:
                self._take_back(pending, ticket)
            raise
        except asyncio.CancelledError:
            self._take_back(pending, ticket)
            raise

    def _take_back(self, pending: Pending, ticket: Ticket) -> None:
        async def cancel() -> None:
            with suppress(NetworkError):
                await pending.cancel(ticket.id)

        task = asyncio.create_task(cancel())
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _reconnect(self) -> None:
        pending = self._pending
        if pending is None:
            return

        async def check() -> None:
            with suppress(NetworkError):  # it is asked again in a few seconds
                await pending.check()

        self._begin(check())

    async def _watch_nodes(self, pending: Pending) -> None:
        """See who comes and goes, for ever."""
        while True:
            await asyncio.sleep(_LOOK)
            with suppress(NetworkError):  # they are asked for again
                self._nodes = await _ask_for_nodes(pending)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _end_at_once(task: Task, workflow: Workflow, state: ExecutionState) -> TaskResult | None:
    """Give the result of a run that needs no model any more."""
    match find_end(workflow, state):
        case Finished(text):
            return make_result(task, state, text=text, node=_last_node(state.turns))
        case Failed(error):
            return make_result(task, state, error=error, node=_last_node(state.turns))
    return None


def _name(task: Task, workflow: Workflow, state: ExecutionState | None) -> str:
    """Give a task's name in a named run: the same whenever the same is asked for.

    A run that has turns already is another one: a result that was made of others does not fit it.
    """
    given = [f"{turn.task_id} {turn.text}" for turn in state.turns] if state else []
    identity = json.dumps([task.name, task.models, workflow.model_dump_json(), given])
    return sha256(identity.encode()).hexdigest()[:32]


def _last_node(turns: tuple[Turn, ...]) -> str:
    return turns[-1].node if turns else ""


async def _ask_for_nodes(pending: Pending) -> tuple[NodeInfo, ...]:
    answer = await pending.ask("hello", {}, patience=_HELLO)
    return tuple(_read_node(node) for node in answer["nodes"])


def _read_node(said: dict[str, Any]) -> NodeInfo:
    return NodeInfo(
        address=str(said["address"]),
        models=tuple(map(str, said["models"])),
        slots=int(said["slots"]),
        running=int(said["running"]),
    )
