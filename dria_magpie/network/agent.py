"""A node's side of the network: takes assignments, signs what it makes, hands it in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
from contextlib import aclosing

from dria_magpie.errors import (
    DrainedError,
    DriaMagpieError,
    EngineError,
    NetworkError,
    StateError,
)
from dria_magpie.models import TaskResult
from dria_magpie.network.assignment import BEAT, Assignment, Beat
from dria_magpie.network.broker import Broker
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.order import MOST_UNFINISHED
from dria_magpie.network.outbox import Outbox
from dria_magpie.network.signing import NodeKey
from dria_magpie.network.work import Work
from dria_magpie.node import Node

logger = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0


class Agent:
    """Works for a network, with a node that runs the dialogues.

    Args:
        node: runs the dialogues; its address is set to that of `key`.
        broker: the connection, with the node's credentials.
        key: signs what the node makes.

    Example::

        agent = Agent(Node(LlamaEngine()), Broker(url, credentials), NodeKey.from_hex(text))
        await agent.serve()
    """

    def __init__(self, node: Node, broker: Broker, key: NodeKey) -> None:
        self._node = node
        self._broker = broker
        self._key = key
        self._work: dict[str, asyncio.Task[None]] = {}
        self._outbox = Outbox(broker, f"node.{key.address}.done")
        self._changed = asyncio.Event()
        self._draining = False
        node.address = key.address
        broker.on_connect = self._outbox.send_all

    @property
    def address(self) -> str:
        """Who the node is in the network."""
        return self._key.address

    @property
    def running(self) -> int:
        """How many dialogues it runs."""
        return len(self._work)

    async def serve(self) -> None:
        """Connect, start the node, and work until `drain`; all is handed in before this ends.

        Raises:
            DriaMagpieError: the node cannot start, or the network lets it no longer in.
        """
        await self._connect()
        sending = asyncio.create_task(self._outbox.run())
        try:
            await self._node.start()
            await self._broker.subscribe(f"work.{self._key.address}", self._take)
            info = self._node.info
            context = {"action": "joined", "models": info.models, "slots": info.slots}
            logger.info("the node has joined the network", extra=context)
            while not (self._draining and not self._work):
                if self._broker.is_closed:
                    raise NetworkError("the network has cut this node off; ask its owner why")
                self._changed.clear()
                await self._beat()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), BEAT)
            await self._beat()
        finally:
            for work in (sending, *self._work.values()):
                work.cancel()
            await asyncio.gather(sending, *self._work.values(), return_exceptions=True)
            await self._node.aclose()
            await self._broker.aclose()

    async def _connect(self) -> None:
        """Connect, however long nobody answers; who is refused need not try again."""
        wait = _FIRST_WAIT
        while not self._draining:
            try:
                return await self._broker.connect()
            except NetworkError as error:
                if not isinstance(error.__cause__, ConnectionError | TimeoutError):
                    raise
                logger.warning("the network is away: %s", error, extra={"action": "network_away"})
            wait = min(2 * wait, _LONGEST_WAIT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
        raise NetworkError("the node was ended before the network answered")

    def drain(self) -> None:
        """Take no more; runs end after the call that they are at, and are handed back."""
        self._draining = True
        self._node.drain()
        self._outbox.leave()
        # The hub hears of it before anything comes back.
        self._changed.set()

    async def _beat(self) -> None:
        info = self._node.info
        beat = Beat(
            models=info.models,
            slots=info.slots,
            running=tuple(self._work),
            draining=self._draining,
            build=self._node.engines,
            hardware=f"{platform.machine()} {platform.system()}",
        )
        # Nobody listens while the hub is away, and the next one says the same.
        if self._broker.is_up:
            with contextlib.suppress(NetworkError):
                await self._broker.publish(f"alive.{self._key.address}", beat.to_bytes())

    async def _take(self, delivery: Delivery) -> None:
        """Begin what the hub assigns; nobody else may publish here."""
        try:
            assignment = Assignment.read(delivery.payload)
        except StateError as error:
            logger.warning("not understood: %s", error, extra={"action": "order_damaged"})
            return
        for nonce in assignment.settled:
            self._outbox.settle(nonce)
        for nonce in assignment.taken_back:
            self._cancel(nonce)
        if assignment.nonce and assignment.nonce not in self._work:
            work = asyncio.create_task(self._run(assignment))
            self._work[assignment.nonce] = work
            work.add_done_callback(lambda _: self._end(assignment.nonce))

    def _end(self, nonce: str) -> None:
        self._work.pop(nonce, None)
        if self._draining and not self._work:
            self._changed.set()

    def _cancel(self, nonce: str) -> None:
        work = self._work.get(nonce)
        if work is not None:
            logger.info("a task was taken back", extra={"action": "cancelled", "nonce": nonce})
            work.cancel()

    async def _run(self, assignment: Assignment) -> None:
        context = {"nonce": assignment.nonce}
        logger.info("a task was begun", extra={"action": "task_begun", **context})
        try:
            work = Work.of(assignment, self._key)
        except StateError as error:
            logger.warning("a task cannot be read: %s", error, extra={"action": "task_refused"})
            return
        failure = await self._make(work)
        if failure and not isinstance(failure, DrainedError):
            # The next node goes on from what is finished, whatever ended it here.
            await self._checkpoint(work)
        kind, payload = work.end(failure)
        await self._outbox.hand_in(work.nonce, payload)
        logger.info("a task was handed in", extra={"action": f"task_{kind}", **context})

    async def _make(self, work: Work) -> DriaMagpieError | None:
        """Run it; give why it failed, if it did."""
        try:
            task, workflow, state = work.begin()
        except DriaMagpieError as error:
            return error
        async with aclosing(self._node.run(task, workflow, work.model, state)) as events:
            async for event in events:
                if isinstance(event, TaskResult):
                    return event.error
                if work.add(event.turn, event.state.seconds):
                    await self._checkpoint(work)
        return EngineError("the node gave no result")

    async def _checkpoint(self, work: Work) -> None:
        """Send where a run stands: the next time, or the result, makes a lost one good."""
        payload = work.seal("state")
        if len(payload) <= MOST_UNFINISHED:
            with contextlib.suppress(NetworkError):
                await self._broker.publish(f"node.{self._key.address}.state", payload)
