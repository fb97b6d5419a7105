"""What a client asks the hub, again and again until it answers."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from dria_magpie.errors import NetworkError
from dria_magpie.network.broker import Broker
from dria_magpie.network.delivery import Delivery

logger = logging.getLogger(__name__)
PATIENCE = 30.0
_ASK_WAIT = 5.0
_PAUSE = 0.5
_AT_ONCE = 4


class Questions:
    """Asks the hub.

    Args:
        broker: the client's connection.
        client: the client's token.
        run: the name of its run.
    """

    def __init__(self, broker: Broker, client: str, run: str) -> None:
        self._broker = broker
        self._client = client
        self._inbox = f"_INBOX.{client}.desk.{run}"
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._asked = 0
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def start(self) -> None:
        """Listen for answers."""
        await self._broker.subscribe(f"{self._inbox}.*", self._hear)

    async def ask(
        self, verb: str, asked: dict[str, Any], *, patience: float = PATIENCE
    ) -> dict[str, Any]:
        """Ask the hub.

        Raises:
            NetworkError: it does not answer.
        """
        self._asked += 1
        reply = f"{self._inbox}.{self._asked}"
        future = self._answers[reply] = asyncio.get_running_loop().create_future()
        question = json.dumps({**asked, "reply": reply}).encode()
        try:
            # A few at a time is all that the hub takes of a client.
            async with self._asking, asyncio.timeout(patience):
                answer = await self._repeat(f"ask.{self._client}.{verb}", question, future)
        except TimeoutError as error:
            raise NetworkError(
                "the network's hub does not answer: its owner starts it with dria-magpie network up"
            ) from error
        finally:
            del self._answers[reply]
        return answer

    async def _repeat(
        self, subject: str, question: bytes, future: asyncio.Future[dict[str, Any]]
    ) -> dict[str, Any]:
        """Ask again and again, as a broker that ends takes questions with it."""
        while True:
            try:
                await self._broker.publish(subject, question)
                async with asyncio.timeout(_ASK_WAIT):
                    return await asyncio.shield(future)
            except (NetworkError, TimeoutError) as error:
                if self._broker.is_closed or future.done():
                    raise
                logger.info("asked again: %r", error, extra={"action": "asked_again"})
                await asyncio.sleep(_PAUSE)

    async def _hear(self, delivery: Delivery) -> None:
        future = self._answers.get(delivery.subject)
        if future and not future.done():
            try:
                future.set_result(json.loads(delivery.payload))
            except ValueError as error:
                future.set_exception(NetworkError(f"the hub answered nonsense: {error}"))
