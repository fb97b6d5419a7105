"""What a node has made and the hub does not have yet: kept, and sent until the hub says so."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from dria_magpie.errors import NetworkError
from dria_magpie.network.assignment import MOST_HANDED_IN
from dria_magpie.network.broker import Broker

logger = logging.getLogger(__name__)
_LOOK = 0.5
# What is lost is mostly lost with the connection, after which all is sent again at once.
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 30.0
# Less than the broker keeps: it deletes what was read somewhat later than a node hears of it.
_AT_ONCE = 12
_SETTLED_WITHIN = 5.0


@dataclass(slots=True)
class _Letter:
    """A result on its way.

    Attributes:
        payload: as it travels.
        settled: done once the hub has it, or nobody waits for that.
        copies: how often it was sent on this connection.
        due: the loop's time at which it is sent again.
        wait: seconds that it waits then.
        left: the loop's time at which a node that leaves knew it to be at the broker; 0 before.
    """

    payload: bytes
    settled: asyncio.Future[None]
    copies: int = 0
    due: float = 0.0
    wait: float = _FIRST_WAIT
    left: float = 0.0


class Outbox:
    """Sends a node's results until the hub has them: the broker forgets them when it ends.

    Args:
        broker: the node's connection.
        subject: where its results go.
    """

    def __init__(self, broker: Broker, subject: str) -> None:
        self._broker = broker
        self._subject = subject
        self._letters: dict[str, _Letter] = {}
        self._left: dict[str, int] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._is_leaving = False

    async def hand_in(self, nonce: str, payload: bytes) -> None:
        """Send the result of an assignment, and wait until the hub has it."""
        async with self._room:
            letter = _Letter(payload, asyncio.get_running_loop().create_future())
            self._letters[nonce] = letter
            try:
                await self._send(letter)
                await letter.settled
            finally:
                del self._letters[nonce]

    def settle(self, nonce: str) -> None:
        """Note that the hub has the result of an assignment."""
        self._left.pop(nonce, None)
        letter = self._letters.get(nonce)
        if letter and not letter.settled.done():
            letter.settled.set_result(None)

    def leave(self) -> None:
        """Wait for the hub no longer than a few seconds, where the broker has the result."""
        self._is_leaving = True

    def send_all(self) -> None:
        """Send again what the hub does not have, as the broker may have forgotten it."""
        self._left.clear()
        for letter in self._letters.values():
            letter.copies, letter.due, letter.wait, letter.left = 0, 0.0, _FIRST_WAIT, 0.0

    async def run(self) -> None:
        """Send again what waits for long, until this is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK)
            if not self._broker.is_up:
                continue
            for letter in list(self._letters.values()):
                if letter.due <= loop.time() and not letter.settled.done():
                    await self._send(letter)
            if self._is_leaving:
                await self._part()

    async def _send(self, letter: _Letter) -> None:
        """Send a letter, if there is sure to be room for it at the broker, which says nothing."""
        copies = sum(other.copies for other in self._letters.values()) + sum(self._left.values())
        if copies >= MOST_HANDED_IN:
            return
        letter.copies += 1
        if letter.copies > 1:
            context = {"action": "result_waits"}
            logger.info("the hub has not read a result yet: it is sent again", extra=context)
        letter.due = asyncio.get_running_loop().time() + letter.wait
        letter.wait = min(2 * letter.wait, _LONGEST_WAIT)
        # It is sent again: nothing that the broker says of it would change that.
        with suppress(NetworkError):
            await self._broker.publish(self._subject, letter.payload)

    async def _part(self) -> None:
        """Leave what is at the broker to the hub: nobody may keep a node from leaving."""
        sent = {nonce: letter for nonce, letter in self._letters.items() if letter.copies}
        with suppress(NetworkError):
            await self._broker.flush()
            now = asyncio.get_running_loop().time()
            for nonce, letter in sent.items():
                letter.left = letter.left or now
                if now - letter.left > _SETTLED_WITHIN and not letter.settled.done():
                    self._left[nonce] = letter.copies
                    letter.settled.set_result(None)
