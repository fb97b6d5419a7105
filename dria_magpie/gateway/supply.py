"""The network behind the gateway: brought up in the background, and looked at again."""

from __future__ import annotations

import asyncio
import logging

from tenacity import AsyncRetrying, RetryCallState, wait_exponential

from dria_magpie.client import Dria
from dria_magpie.gateway.catalogue import Catalogue
from dria_magpie.models import NodeInfo

logger = logging.getLogger(__name__)
_LOOK_AGAIN = 2.0


class Supply:
    """Starts the network in the background, for as long as that takes.

    Args:
        dria: the client.
        catalogue: is told what the network serves.

    Attributes:
        is_up: set once there are nodes.
        room: how many tasks are to be under way.
    """

    def __init__(self, dria: Dria, catalogue: Catalogue) -> None:
        self._dria = dria
        self._catalogue = catalogue
        self.is_up = asyncio.Event()
        self.room = 0

    async def run(self) -> None:
        """Bring the network up, and see which nodes come and go, for ever."""
        waits = wait_exponential(multiplier=1, max=30)
        async for attempt in AsyncRetrying(wait=waits, before_sleep=_tell_failure):
            with attempt:
                nodes = await self._dria.nodes()
        if not nodes:
            context = {"action": "no_nodes"}
            logger.warning("the network has no nodes yet, and tasks wait", extra=context)
        while True:
            self._note(nodes)
            await asyncio.sleep(_LOOK_AGAIN)
            nodes = await self._dria.nodes()

    def _note(self, nodes: tuple[NodeInfo, ...]) -> None:
        if not nodes:
            return  # what they served will be served again, or its tasks fail one by one
        before = self._catalogue.serves
        self._catalogue.learn(nodes)
        # Twice the slots, so that a finished task's slot never waits for the next task.
        self.room = max(2 * sum(node.slots for node in nodes), 1)
        if self.is_up.is_set() and before == self._catalogue.serves:
            return
        action = "network_changed" if self.is_up.is_set() else "network_started"
        context = {"action": action, "serves": self._catalogue.serves}
        logger.info("the network is up, %d tasks at once", self.room, extra=context)
        for name in self._catalogue.list_unserved():
            context = {"action": "model_unserved", "model": name}
            logger.warning("--serve-as: no node serves the model for %s", name, extra=context)
        self.is_up.set()


def _tell_failure(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    context = {"action": "network_not_started", "attempts": state.attempt_number}
    logger.warning("the network cannot be started, and tasks wait: %s", error, extra=context)
