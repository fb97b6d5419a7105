"""Whether an answer reached its client, as far as a server can know."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

logger = logging.getLogger(__name__)
# A client far away takes a megabyte in this time; after it, the connection counts as dead.
_LONGEST = 10.0
# Who has read an answer closes the connection, or keeps it; who has not tears it down, and soon.
_GRACE = 0.75
_LOOK_AGAIN, _LONGEST_LOOK = 0.01, 0.1
_SIOCOUTQ = 0x5411
_ESTABLISHED, _CLOSED = 1, 7
Outcome = Literal["received", "lost"]


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of a connection.

    Attributes:
        pending: bytes that the client's machine has not confirmed.
        is_reset: whether the client tore it down with bytes that it had not read.
        has_ended: whether the client closed it.
    """

    pending: int
    is_reset: bool = False
    has_ended: bool = False


def decide_outcome(line: Line, seconds: float, *, hurry: bool = False) -> Outcome | None:
    """Decide what became of an answer; None as long as that is open.

    Args:
        line: what is known of the connection.
        seconds: how long ago something of the answer was confirmed, or it was written.
        hurry: whether it has to be decided now.
    """
    if line.is_reset:
        return "lost"
    if not line.pending and (line.has_ended or hurry or seconds >= _GRACE):
        return "received"
    return "lost" if hurry or seconds >= _LONGEST else None


class Watch:
    """Watches a connection while an answer is on its way.

    It has a handle of its own on the connection, so that it sees the end of it.

    Args:
        request: whose connection it is, before the answer is written.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self._transport = request.transport
        self._hurry = False
        raw = self._transport.get_extra_info("socket") if self._transport else None
        self._socket: socket.socket | None = None
        if raw is not None:
            # Without a handle, as where files have run out, what is written counts as received.
            with suppress(OSError):
                self._socket = socket.socket(fileno=os.dup(raw.fileno()))
        # Below TLS, a client that has read everything may leave bytes of the protocol unread.
        self._is_plain = not (self._transport and self._transport.get_extra_info("sslcontext"))

    @property
    def is_gone(self) -> bool:
        """Whether the client is known to be gone."""
        return self._transport is None or self._transport.is_closing()

    async def outcome(self) -> Outcome:
        """Wait until it is known what became of the answer, or never will be."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        pause = _LOOK_AGAIN
        try:
            while True:
                seconds = loop.time() - began
                found = decide_outcome(self._look(), seconds, hurry=self._hurry)
                if found is not None:
                    return found
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_LOOK)
        finally:
            self.close()

    def hurry(self) -> None:
        """Have it decided at once."""
        self._hurry = True

    def close(self) -> None:
        """Let the connection go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _look(self) -> Line:
        transport = self._transport
        # One of TLS cannot be asked any more once it is closed
        asked = transport is not None and (self._is_plain or not self.is_gone)
        unsent = transport.get_write_buffer_size() if transport and asked else 0
        if self._socket is None or sys.platform != "linux":
            return Line(unsent, has_ended=self.is_gone)
        state, unconfirmed = _read_state(self._socket)
        reset = state == _CLOSED and (self._is_plain or unconfirmed > 0)
        return Line(unsent + unconfirmed, reset, has_ended=state != _ESTABLISHED)


class Watches:
    """The answers that are on their way, until it is known what became of each."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Watch] = {}

    def begin(self, watch: Watch, settling: Coroutine[Any, Any, None]) -> None:
        """Have an answer settled in the background, by what waits for its outcome."""
        task = asyncio.create_task(settling)
        self._tasks[task] = watch
        task.add_done_callback(self._tasks.pop)

    async def settle(self) -> None:
        """Have all of them decided at once."""
        for watch in self._tasks.values():
            watch.hurry()
        await asyncio.gather(*self._tasks)


def _read_state(raw: socket.socket) -> tuple[int, int]:
    """Give the state of a connection on Linux, and how many bytes were not confirmed."""
    from fcntl import ioctl

    try:
        unconfirmed = struct.unpack("i", ioctl(raw.fileno(), _SIOCOUTQ, b"\0" * 4))[0]
        state = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError as error:
        context = {"action": "connection_unreadable"}
        logger.info("a connection cannot be looked at: %r", error, extra=context)
        return _CLOSED, 1
    return state, unconfirmed
