"""Whether a task is taken, and what becomes of one that is not."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from dria_magpie.errors import DriaMagpieError, GraphError, InvalidInputError, NoNodeError
from dria_magpie.gateway.catalogue import Catalogue
from dria_magpie.gateway.desk import Desk
from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.identities import Identities
from dria_magpie.gateway.limits import MOST_TASKS
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.seal import Address, Execution, seal_failure
from dria_magpie.gateway.wire import Order
from dria_magpie.network.pace import Pace
from dria_magpie.workflow import Workflow

logger = logging.getLogger(__name__)


class Intake:
    """Takes tasks in: those that cannot be run are answered at once, with the reason.

    Args:
        desk: gets the tasks.
        catalogue: says what is served.
        identities: sign the answers.
    """

    def __init__(self, desk: Desk, catalogue: Catalogue, identities: Identities) -> None:
        self._desk = desk
        self._catalogue = catalogue
        self._identities = identities
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()

    async def take(self, queue: KeyQueue, order: Order, too_fast: str) -> Entry:
        """Take a task; one that is there already is not taken again.

        Args:
            queue: its key's.
            order: the task.
            too_fast: why its request came too fast; "" if it did not.
        """
        known = queue.entries.get(order.id)
        if known:
            return known
        fault = None if queue.is_full or too_fast else await self._find_fault(queue, order)
        return queue.entries.get(order.id) or self._enter(queue, order, too_fast, fault)

    async def settle(self, queue: KeyQueue, entry: Entry) -> bool:
        """Wait until the store has a task; tell whether it does."""
        if entry.posts > 1:
            await self._desk.take_again(queue, entry)
        await entry.accepted.wait()
        return entry.kept is not None

    def _enter(
        self, queue: KeyQueue, order: Order, too_fast: str, fault: DriaMagpieError | None
    ) -> Entry:
        now = self._loop.time()
        full = f"{MOST_TASKS:,} tasks wait already" if queue.is_full else too_fast
        reason = f"queue full: {full}; hand it in again later" if full else str(fault or "")
        picked = (self._identities.find(address) for address in order.picked)
        identity = next((number for number in picked if number is not None), 0)
        if not reason:
            return self._desk.take_in(queue, order, now, identity=identity)
        # Not the fault's text: it may quote what the client sent.
        kind = "queue full" if full else type(fault).__name__
        context = {"action": "task_refused", "key": queue.key.name, "task_id": order.id}
        logger.info("a task was refused: %s", kind, extra={**context, "error": kind})
        item = self._answer(queue, order, identity, reason)
        return self._desk.take_in(
            queue, order, now, identity=identity, item=item, refused=bool(full)
        )

    async def _find_fault(self, queue: KeyQueue, order: Order) -> DriaMagpieError | None:
        """Say why a task cannot be run; None if it can, as far as is known."""
        if not any(self._identities.find(address) is not None for address in order.picked):
            return InvalidInputError("the node that was picked is none of this gateway's")
        # To find fault with each of many thousand parts takes time, which other keys need.
        fault = await self._pace.spend(queue.key.digest, partial(_find_graph_fault, order.workflow))
        unserved = self._catalogue.refuse(order.models)
        return fault or (NoNodeError(unserved) if unserved else None)

    def _answer(self, queue: KeyQueue, order: Order, identity: int, reason: str) -> str:
        now = time.time()
        to = Address(
            task=order.id,
            key_digest=queue.key.digest,
            public_key=order.public_key,
            identity=identity,
            received=now,
        )
        run = Execution(model=order.models[0], started=now, ended=now)
        return seal_failure(self._identities, to, run, reason)


def _find_graph_fault(graph: Any) -> GraphError | None:
    try:
        Workflow.parse(graph)
    except GraphError as error:
        return error
    return None
