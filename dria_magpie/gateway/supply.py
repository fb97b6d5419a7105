"""The network behind the gateway: brought up in the background, and looked at again."""

from __future__ import annotations

import asyncio
import logging

from tenacity import AsyncRetrying, RetryCallState, wait_exponential

from dria_magpie.client import Dria
from dria_magpie.errors import ModelFileError, UnsupportedError
from dria_magpie.gateway.catalogue import Catalogue
from dria_magpie.models import NodeInfo

logger = logging.getLogger(__name__)
_LOOK_AGAIN = 2.0
_WILL_NOT_PASS = (ModelFileError, UnsupportedError)


class Supply:
    """Starts the network in the background, for as long as that takes.

    Args:
        dria: the client.
        catalogue: is told what the network serves.
        news: set when there is room for more tasks.

    Attributes:
        is_up: set once there are nodes.
        room: how many tasks are to be under way.
    """

    def __init__(self, dria: Dria, catalogue: Catalogue, news: asyncio.Event) -> None:
        self._dria = dria
        self._catalogue = catalogue
        self._news = news
        self._is_empty = False
        self.is_up = asyncio.Event()
        self.room = 0

    async def run(self) -> None:
        """Bring the network up, and see which nodes come and go, for ever."""
        waits = wait_exponential(multiplier=1, max=30)
        asking = AsyncRetrying(wait=waits, before_sleep=self._tell_failure)
        while True:
            self._note(await asking(self._dria.nodes))
            await asyncio.sleep(_LOOK_AGAIN)

    def _note(self, nodes: tuple[NodeInfo, ...]) -> None:
        self._tell_empty(is_empty=not nodes)
        if not nodes:
            return  # what they served will be served again, or its tasks fail one by one
        before = self._catalogue.serves
        self._catalogue.learn(nodes)
        # Twice the slots, so that a finished task's slot never waits for the next task.
        room = max(2 * sum(node.slots for node in nodes), 1)
        if room > self.room:
            self._news.set()
        self.room = room
        if self.is_up.is_set() and before == self._catalogue.serves:
            return
        action = "network_changed" if self.is_up.is_set() else "network_started"
        context = {"action": action, "serves": self._catalogue.serves}
        logger.info("the network is up, %d tasks at once", self.room, extra=context)
        self._tell_unserved()
        self.is_up.set()

    def _tell_unserved(self) -> None:
        served = ", ".join(self._catalogue.names) or "nothing"
        for name, model in self._catalogue.list_unserved().items():
            context = {"action": "model_unserved", "model": model, "asked_as": name}
            advice = "no node serves %s, so that %s is refused; served here: %s"
            logger.warning(advice, model, name, served, extra=context)

    def _tell_empty(self, *, is_empty: bool) -> None:
        if is_empty == self._is_empty:
            return
        self._is_empty = is_empty
        if is_empty:
            when = "any more" if self.is_up.is_set() else "yet"
            context = {"action": "no_nodes"}
            logger.warning("the network has no nodes %s, and tasks wait", when, extra=context)
        else:
            logger.info("the network has nodes again", extra={"action": "nodes_back"})

    def _tell_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        level, what = logging.WARNING, "cannot be started"
        if self.is_up.is_set():
            what = "does not say which nodes it has"
        elif isinstance(error, _WILL_NOT_PASS):
            level, what = logging.ERROR, "cannot be started, nor will that pass"
        action = "network_away" if self.is_up.is_set() else "network_not_started"
        context = {"action": action, "attempts": state.attempt_number}
        logger.log(level, "the network %s, and tasks wait: %s", what, error, extra=context)
