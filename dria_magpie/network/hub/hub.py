"""`Hub`: the trusted side of a network. It may be killed at any line; another one goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dria_magpie.errors import NetworkError, StateError
from dria_magpie.network.assignment import LEASE, Beat
from dria_magpie.network.broker import Broker
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.checks import SHARE, Checks
from dria_magpie.network.hub.desk import Desk
from dria_magpie.network.hub.dispatcher import Dispatcher
from dria_magpie.network.hub.job import LaneKey
from dria_magpie.network.hub.judge import STALLED_AFTER, Judge, Settled
from dria_magpie.network.hub.lanes import Lanes
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.quota import Quota
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.status import describe_hub
from dria_magpie.network.hub.stream_table import NOTE_AGAIN
from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.hub.turnstile import Turnstile
from dria_magpie.network.pace import Pace

logger = logging.getLogger(__name__)
TICK = 0.5
_ASLEEP = 5.0
_AT_ONCE = 128
_ACK_WAIT = 30 * 10**9
_DONE_WITH, _AGAIN = b"+ACK", b'-NAK {"delay":1000000000}'
_READ = ("NODES", "DESK", "BEATS")
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
        check_share: how many tasks are run once more to check them, 0 to 1.

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
        check_share: float = SHARE,
    ) -> None:
        self._broker = Broker(url, credentials)
        self._broker.on_connect = self._reconnect
        streams = self._streams = Streams(self._broker)
        self._ledger = Ledger(self._broker, streams)
        self._registry = Registry(self._ledger, bar, names)
        pace = Pace()
        self._board = Board(self._registry, lease)
        self._dispatcher = Dispatcher(
            self._board, self._ledger, self._registry, self._broker, self._make_room
        )
        self._judge = Judge(
            self._board,
            self._dispatcher,
            self._ledger,
            self._registry,
            checks=Checks(self._registry, check_share),
            pace=pace,
            stalled_after=stalled_after,
        )
        self._lanes = Lanes(streams, self._ledger, self._board, self._dispatcher, pace)
        self._desk = Desk(
            self._broker, self._ledger, self._registry, self._lanes, self._board, self._dispatcher
        )
        self._quota = Quota(streams, self._ledger.tasks)
        self._turnstile = Turnstile(self._handle)
        self._tasks: set[asyncio.Task[None]] = set()
        self._resuming = 0

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
        self._begin(self._turnstile.run())
        await self._broker.subscribe("inbox", self._take)
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
        with suppress(NetworkError):  # what is not deleted now, the next hub deletes
            await self._ledger.write()
        await self._broker.aclose()

    async def status(self) -> dict[str, Any]:
        """Give what the network does, as JSON takes it."""
        return await describe_hub(self._registry, self._board, self._lanes)

    async def _listen(self) -> None:
        """Have the broker send what nodes and clients say; it keeps a window, we the pace."""
        for stream in _READ:
            await self._streams.make_consumer(
                stream,
                "hub",
                durable_name="hub",
                deliver_subject="inbox",
                ack_policy="explicit",
                ack_wait=_ACK_WAIT,
                max_ack_pending=2048,
            )

    def _make_room(self, lane: LaneKey) -> None:
        self._lanes.make_room(lane)

    def _reconnect(self) -> None:
        self._ledger.tasks.forget()
        self._board.excuse_nodes()
        self._begin(self._listen_again())

    async def _listen_again(self) -> None:
        """Go on after the broker was away; if it has ended, it has forgotten what was in memory."""
        self._resuming += 1
        try:
            await self._resume()
        finally:
            self._resuming -= 1

    async def _resume(self) -> None:
        while not self._broker.is_closed:
            try:
                await self._ledger.prepare()
                await self._listen()
                await self._find_places()
                self._lanes.read_anew()
                await self._dispatcher.note_all()
            except NetworkError as error:
                logger.warning(
                    "the broker is not ready: %s", error, extra={"action": "broker_slow"}
                )
                await asyncio.sleep(TICK)
            else:
                self._hear_anew()
                return

    async def _find_places(self) -> None:
        """See which tasks in hand the broker has forgotten: others may get their places."""
        jobs = self._board.jobs()
        for start in range(0, len(jobs), _AT_ONCE):
            some = jobs[start : start + _AT_ONCE]
            for job, is_there in zip(some, await self._ledger.look_for(some), strict=True):
                if not is_there:
                    self._board.displace(job)

    def _hear_anew(self) -> None:
        """Give nodes that could not be heard the time to say that they are there."""
        self._board.renew_leases()
        self._registry.expect(time.time())

    async def _tick(self) -> None:
        last = noted = time.time()
        while True:
            await asyncio.sleep(TICK)
            now, before, last = time.time(), last, time.time()
            if not 0 <= now - before < _ASLEEP:  # this machine slept, or was far too busy
                self._hear_anew()
            if not self._broker.is_up or self._resuming:
                self._board.renew_leases()
                continue
            try:
                await self._judge.check_leases()
                await self._registry.write(now)
                await self._ledger.write()
                await self._quota.enforce()
                if now - noted > NOTE_AGAIN:
                    noted = now
                    await self._dispatcher.note_all()
            except NetworkError as error:
                logger.warning("the broker is away: %s", error, extra={"action": "broker_away"})
            except Exception:
                # Leases must run out whatever else is wrong.
                logger.exception("a round failed", extra={"action": "round_failed"})

    async def _take(self, delivery: Delivery) -> None:
        if delivery.seq:
            kind, who, *_ = delivery.subject.split(".")
            self._turnstile.put(f"{kind}.{who}", delivery)

    async def _do(self, delivery: Delivery) -> Settled | None:
        """Do what a message asks for, unless it is of a node that was barred."""
        kind, who, *_ = delivery.subject.split(".")
        if kind == "ask":
            await self._desk.answer(delivery)
        elif self._registry.is_barred(who):
            return None
        elif kind == "alive":
            await self._take_beat(who, delivery)
        else:
            return await self._judge.take(who, delivery.payload)
        return None

    async def _take_beat(self, address: str, delivery: Delivery) -> None:
        try:
            beat = Beat.read(delivery.payload)
        except StateError as error:
            context = {"action": "beat_damaged", "node": address}
            logger.info("not understood: %s", error, extra=context)
            self._registry.earn(address, "invalid", time.time())
            return
        await self._dispatcher.beat(address, beat)

    async def _handle(self, delivery: Delivery) -> None:
        """Do what a message asks for, and have it deleted, unless it is to come again."""
        word, settled = _DONE_WITH, None
        try:
            settled = await self._do(delivery)
        except NetworkError as error:
            logger.info("a message will come again: %s", error, extra={"action": "again"})
            word = _AGAIN
        except Exception:
            # A message that we cannot digest must not come again for ever.
            logger.exception("a message was dropped", extra={"action": "dropped"})
        try:
            await self._broker.publish(delivery.reply, word)
            # In this order: a node that hears of it hands in more, for which there must be room.
            if settled:
                self._dispatcher.settle(*settled)
            await self._dispatcher.serve()
        except NetworkError as error:  # then it comes again by itself
            logger.info("a message will come again: %s", error, extra={"action": "again"})
        except Exception:
            # The message is done with; what waits is given out in the next round.
            logger.exception("a round failed", extra={"action": "round_failed"})

    async def _tell_status(self, delivery: Delivery) -> None:
        if delivery.reply:
            await self._broker.publish(delivery.reply, json.dumps(await self.status()).encode())

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
