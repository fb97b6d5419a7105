"""A client's tasks that are under way in a network: handed in, asked after, told of."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from dria_magpie.errors import DrainedError, DriaMagpieError, NetworkError, NoNodeError
from dria_magpie.network.broker import Broker
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.fit import split_models
from dria_magpie.network.questions import PATIENCE, Questions
from dria_magpie.workflow import Workflow

logger = logging.getLogger(__name__)
ASK_AGAIN = 5.0
_AT_ONCE = 500
_GATHERING = 0.2


@dataclass(slots=True)
class Ticket:
    """A task that was handed in.

    Attributes:
        id: its name in the run.
        route: its queue.
        payload: as it travels.
        result: what comes back, once it has come.
    """

    id: str
    route: str
    payload: bytes
    result: asyncio.Future[bytes] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Pending:
    """Hands tasks in, and sees to it that each one's result comes, whoever dies meanwhile.

    Args:
        broker: the client's connection.
        client: the client's token.
        run: the name of its run.
    """

    def __init__(self, broker: Broker, client: str, run: str) -> None:
        self._broker = broker
        self._client = client
        self._run = run
        self._tickets: dict[str, Ticket] = {}
        self._routes: set[str] = set()
        self._questions = Questions(broker, client, run)
        self._collected: list[str] = []
        self._doubtful = asyncio.Event()
        self._drained = False

    async def start(self) -> None:
        """Listen for results and answers."""
        await self._broker.subscribe(f"told.{self._client}.{self._run}.*", self._hear)
        await self._questions.start()

    def number(self, name: str) -> str:
        """Give a name that no task has that is under way: two equal tasks are two."""
        number = 0
        while (found := f"{name}-{number}" if number else name) in self._tickets:
            number += 1
        return found

    async def obtain(self, ticket: Ticket) -> bytes:
        """Hand a task in, and wait for its result.

        Raises:
            NetworkError: the network is closed meanwhile.
            DrainedError: `drain` was called before it came.
        """
        if self._drained:
            raise _drained()
        self._tickets[ticket.id] = ticket
        try:
            await self._store(ticket)
            return await ticket.result
        finally:
            del self._tickets[ticket.id]
            if not ticket.result.cancel() and not ticket.result.cancelled():
                ticket.result.exception()  # who waited for it has gone, and need not hear of it

    def drain(self) -> None:
        """Have nobody wait for a result any more."""
        self._drained = True
        self._end(_drained())

    def close(self) -> None:
        """Have nobody wait for a result any more, as the network is closed."""
        self._end(NetworkError("the network was closed before the result came"))

    def _end(self, error: DriaMagpieError) -> None:
        for ticket in self._tickets.values():
            if not ticket.result.done():
                ticket.result.set_exception(error)

    async def ask(
        self, verb: str, asked: dict[str, Any], *, patience: float = PATIENCE
    ) -> dict[str, Any]:
        """Ask the hub.

        Raises:
            NetworkError: it does not answer.
        """
        return await self._questions.ask(verb, asked, patience=patience)

    async def open_route(self, models: tuple[str, ...], workflow: Workflow) -> str:
        """Give the queue for tasks that need these models.

        Raises:
            NoNodeError: nobody serves them.
            NetworkError: the hub does not answer.
        """
        named, is_open = split_models(workflow)
        wanted = {"models": models, "named": sorted(named), "open": is_open}
        route = sha256(json.dumps(wanted).encode()).hexdigest()[:16]
        if route not in self._routes:
            answer = await self.ask("lane", {**wanted, "route": route})
            if "refused" in answer:
                raise NoNodeError(f"no node of the network can run this task: {answer['refused']}")
            self._routes.add(route)
        return route

    async def cancel(self, name: str) -> None:
        """Take a task back."""
        await self.ask("cancel", {"run": self._run, "ids": [name]})

    def collect(self, name: str) -> None:
        """Note that a result will not be asked for again."""
        self._collected.append(name)

    async def look_after(self) -> None:
        """Ask after tasks that are long under way, and delete what was collected, for ever."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._doubtful.wait(), ASK_AGAIN)
                await asyncio.sleep(_GATHERING)
            self._doubtful.clear()
            try:
                await self.check()
            except NetworkError as error:
                logger.info("the network is away: %s", error, extra={"action": "network_away"})
                if self._broker.is_closed:
                    self._end(error)

    async def check(self) -> None:
        """Ask after all tasks that are under way; hand in again what nobody knows of."""
        await self.flush()
        names = list(self._tickets)
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            routes = {name: self._tickets[name].route for name in some if name in self._tickets}
            asked = {"run": self._run, "ids": list(routes), "routes": routes}
            for name in (await self.ask("results", asked))["unknown"]:
                ticket = self._tickets.get(name)
                if ticket and not ticket.result.done():
                    await self._store(ticket)

    async def flush(self) -> None:
        """Have results deleted that were collected."""
        while self._collected:
            some = self._collected[:_AT_ONCE]
            await self.ask("forget", {"run": self._run, "ids": some})
            del self._collected[: len(some)]

    async def _store(self, ticket: Ticket) -> None:
        """Put a task into its queue; whether it got there, `check` finds out."""
        subject = f"task.{self._client}.{ticket.route}.{self._run}.{ticket.id}"
        try:
            await self._broker.publish(subject, ticket.payload)
        except NetworkError as error:
            if self._broker.is_closed:
                raise
            logger.info("a task waits: %s", error, extra={"action": "task_waits"})
            self._doubtful.set()

    async def _hear(self, delivery: Delivery) -> None:
        ticket = self._tickets.get(delivery.subject.rpartition(".")[2])
        if ticket and not ticket.result.done():
            ticket.result.set_result(delivery.payload)


def _drained() -> DrainedError:
    return DrainedError("the client was drained; what is under way goes on in the network")
