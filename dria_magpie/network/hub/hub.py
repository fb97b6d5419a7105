"""`Hub`: the trusted side of a network. It may be killed at any line; another one goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dria_magpie.errors import NetworkError, StateError
from dria_magpie.network.assignment import LEASE, Beat
from dria_magpie.network.broker import Broker, Delivery
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.hub.desk import Desk
from dria_magpie.network.hub.dispatcher import STALLED_AFTER, Dispatcher, LaneKey
from dria_magpie.network.hub.lanes import Lanes
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.status import describe_hub
from dria_magpie.network.hub.streams import Streams

logger = logging.getLogger(__name__)
TICK = 0.5
_ACK_WAIT = 5 * 10**9
_INBOXES = {"NODES": "inbox.nodes", "DESK": "inbox.desk"}
STATUS = "owner.status"


class Hub:
    """Gives tasks to nodes, and accepts what is right of what they hand in.

    Args:
        url: of the broker.
        credentials: the hub's.
        bar: takes a node's access to the network away, by its address.
        names: gives the names of nodes, by address.
        lease: seconds until a task goes to another node if its node is silent.
        stalled_after: seconds without a turn until it does though the node is not.

    Example::

        hub = Hub(url, credentials)
        await hub.start()
        await hub.aclose()
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        bar: Callable[[str], None] = lambda _: None,
        names: Callable[[], dict[str, str]] = dict,
        lease: float = LEASE,
        stalled_after: float = STALLED_AFTER,
    ) -> None:
        self._broker = Broker(url, credentials, on_connect=self._reconnect)
        streams = self._streams = Streams(self._broker)
        self._ledger = Ledger(self._broker, streams)
        self._registry = Registry(self._ledger, bar, names)
        self._dispatcher = Dispatcher(
            self._ledger,
            self._registry,
            self._broker,
            lease=lease,
            stalled_after=stalled_after,
            on_room=self._make_room,
        )
        self._lanes = Lanes(streams, self._ledger, self._dispatcher)
        self._desk = Desk(self._broker, self._ledger, self._registry, self._lanes, self._dispatcher)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, and go on where an earlier hub stopped.

        Raises:
            NetworkError: the broker is not there, or refuses.
        """
        await self._broker.connect()
        await self._ledger.prepare()
        await self._registry.load()
        async for job in self._ledger.jobs():
            await self._dispatcher.add(job)
        await self._broker.subscribe("inbox.nodes", self._take_record)
        await self._broker.subscribe("inbox.desk", self._take_question)
        await self._broker.subscribe(STATUS, self._tell_status)
        await self._listen()
        await self._lanes.load()
        self._begin(self._tick())
        logger.info("the hub is up", extra={"action": "hub_up"})

    async def aclose(self) -> None:
        """Stop; nodes work on, and what they hand in waits for the next hub."""
        await self._lanes.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._broker.aclose()

    async def status(self) -> dict[str, Any]:
        """Give what the network does, as JSON takes it."""
        return await describe_hub(self._registry, self._dispatcher, self._lanes)

    async def _listen(self) -> None:
        """Have the broker send what nodes and clients say; it keeps a window, we the pace."""
        for stream, inbox in _INBOXES.items():
            await self._streams.make_consumer(
                stream,
                "hub",
                durable_name="hub",
                deliver_subject=inbox,
                ack_policy="explicit",
                ack_wait=_ACK_WAIT,
                max_ack_pending=256,
            )

    def _make_room(self, lane: LaneKey) -> None:
        self._lanes.make_room(lane)

    def _reconnect(self) -> None:
        self._begin(self._listen_again())

    async def _listen_again(self) -> None:
        while not self._broker.is_closed:
            try:
                await self._listen()
            except NetworkError as error:
                logger.warning(
                    "the broker is not ready: %s", error, extra={"action": "broker_slow"}
                )
                await asyncio.sleep(TICK)
            else:
                return

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                await self._dispatcher.check_leases()
                await self._registry.write(time.time())
            except NetworkError as error:
                logger.warning("the broker is away: %s", error, extra={"action": "broker_away"})

    async def _take_record(self, delivery: Delivery) -> None:
        _, address, _ = delivery.subject.split(".")
        self._begin(self._handle(delivery, self._dispatcher.take(address, delivery.payload)))

    async def _take_question(self, delivery: Delivery) -> None:
        kind, who, *_ = delivery.subject.split(".")
        answer = self._take_beat(who, delivery) if kind == "alive" else self._desk.answer(delivery)
        self._begin(self._handle(delivery, answer))

    async def _take_beat(self, address: str, delivery: Delivery) -> None:
        try:
            beat = Beat.read(delivery.payload)
        except StateError as error:
            context = {"action": "beat_damaged", "node": address}
            logger.info("not understood: %s", error, extra=context)
            self._registry.earn(address, "invalid", time.time())
            return
        await self._dispatcher.beat(address, beat)

    async def _handle(self, delivery: Delivery, work: Awaitable[None]) -> None:
        """Do what a message asks for, and have it deleted, unless it is to come again."""
        try:
            await work
        except NetworkError as error:
            logger.info("a message will come again: %s", error, extra={"action": "again"})
            return
        except Exception:
            # A message that we cannot digest must not come again for ever.
            logger.exception("a message was dropped", extra={"action": "dropped"})
        await self._broker.publish(delivery.reply, b"+ACK")

    async def _tell_status(self, delivery: Delivery) -> None:
        await self._broker.publish(delivery.reply, json.dumps(await self.status()).encode())

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
