"""What clients ask of the hub."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dria_magpie.errors import StateError
from dria_magpie.network.broker import Broker
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.dispatcher import Dispatcher
from dria_magpie.network.hub.lanes import Lanes
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.placement import place
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.tasks import Lane
from dria_magpie.network.hub.wanted import Wanted

logger = logging.getLogger(__name__)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INBOX = re.compile(r"_INBOX(\.[A-Za-z0-9_-]{1,64}){2,8}")
_MOST_IDS = 1000
_MOST_NAMES, _LONGEST_NAME = 100, 300
_LOOK = 0.1
Answer = dict[str, Any]
Verb = Callable[[str, dict[str, Any]], Awaitable[Answer]]


class Desk:
    """Answers clients, each about its own tasks only.

    Args:
        broker: the way back to them.
        ledger: knows results.
        registry: knows the nodes.
        lanes: reads their queues.
        board: knows their tasks.
        dispatcher: drops them.
    """

    def __init__(
        self,
        broker: Broker,
        ledger: Ledger,
        registry: Registry,
        lanes: Lanes,
        board: Board,
        dispatcher: Dispatcher,
    ) -> None:
        self._broker = broker
        self._ledger = ledger
        self._registry = registry
        self._lanes = lanes
        self._board = board
        self._dispatcher = dispatcher
        self._verbs: dict[str, Verb] = {
            "hello": self._hello,
            "lane": self._lane,
            "results": self._results,
            "cancel": self._cancel,
            "forget": self._forget,
            "close": self._close,
        }

    async def answer(self, delivery: Delivery) -> None:
        """Answer what a client asks on ``ask.CLIENT.VERB``."""
        _, client, verb = delivery.subject.split(".")
        try:
            asked = json.loads(delivery.payload)
            reply = str(asked["reply"])
            # Else a client could have the hub speak to nodes and to other clients.
            if not _INBOX.fullmatch(reply) or not reply.startswith(f"_INBOX.{client}."):
                raise StateError("answers go to the inbox of who asks")
            answer = await self._verbs[verb](client, asked)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            StateError,
        ) as error:
            logger.info("not understood: %r", error, extra={"action": "ask_damaged"})
            return
        await self._broker.publish(reply, json.dumps(answer).encode())

    async def _hello(self, _client: str, _asked: dict[str, Any]) -> Answer:
        while not self._registry.is_complete(time.time()):  # noqa: ASYNC110 - seldom, and shortly
            await asyncio.sleep(_LOOK)
        nodes = [
            {"address": m.address, "models": m.models, "slots": m.slots, "running": m.running}
            for m in self._registry.there(time.time())
        ]
        return {"nodes": nodes}

    async def _lane(self, client: str, asked: dict[str, Any]) -> Answer:
        """Open a queue for tasks that need some models, if anybody serves them."""
        route = _read_token(asked["route"])
        wanted = Wanted(
            models=_read_names(asked["models"]),
            named=frozenset(_read_names(asked["named"])),
            open_model=bool(asked["open"]),
        )
        while not self._is_served(wanted):
            now = time.time()
            if self._registry.is_complete(now):
                return {"refused": place(wanted, self._registry.there(now), now).reason}
            await asyncio.sleep(_LOOK)
        if not await self._lanes.open(Lane(client, route)):
            return {"refused": "too many queues have tasks: wait until one has none"}
        return {}

    def _is_served(self, wanted: Wanted) -> bool:
        there = self._registry.there(time.time())
        return not all(wanted.fit(member.info).reason for member in there)

    async def _results(self, client: str, asked: dict[str, Any]) -> Answer:
        """Send the results that there are of some tasks, and say of which nobody knows."""
        run = _read_token(asked["run"])
        unknown = []
        for name in _read_ids(asked["ids"]):
            result = f"result.{client}.{run}.{name}"
            if not await self._ledger.results.tell(result):
                lane = _read_token(asked["routes"][name])
                in_hand = self._board.find(result) is not None
                queued = in_hand or await self._ledger.tasks.has(
                    f"task.{client}.{lane}.{run}.{name}"
                )
                unknown += [] if queued else [name]
                if queued and not in_hand:
                    # It may have been closed while it was empty.
                    await self._lanes.open(Lane(client, lane))
        return {"unknown": unknown}

    async def _cancel(self, client: str, asked: dict[str, Any]) -> Answer:
        run = _read_token(asked["run"])
        for name in _read_ids(asked["ids"]):
            result = f"result.{client}.{run}.{name}"
            if not await self._dispatcher.cancel(result):
                await self._ledger.tasks.clear(f"task.{client}.*.{run}.{name}")
                self._lanes.withdraw(client, result)
                await self._dispatcher.cancel(result)  # it may have gone on meanwhile
        return {}

    async def _forget(self, client: str, asked: dict[str, Any]) -> Answer:
        """Delete results that were collected."""
        run = _read_token(asked["run"])
        for name in _read_ids(asked["ids"]):
            await self._ledger.results.drop(client, run, name)
        return {}

    async def _close(self, client: str, asked: dict[str, Any]) -> Answer:
        """Drop a run that nobody will come back to: its tasks and its results."""
        run = _read_token(asked["run"])
        self._board.close_run(client, run)
        await self._ledger.tasks.clear(f"task.{client}.*.{run}.*")
        await self._dispatcher.cancel_run(client, run)
        await self._ledger.results.drop_run(client, run)
        return {}


def _read_token(value: object) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise StateError(f"not a name: {value!r:.80}")
    return value


def _read_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_NAMES:
        raise StateError("models are a short list")
    return tuple(str(name)[:_LONGEST_NAME] for name in value)


def _read_ids(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST_IDS:
        raise StateError("ids are a list")
    return [_read_token(name) for name in value]
