"""The same request again and again, over many connections, faster than anybody could answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

_AT_ONCE = 5
_ANSWERED_BY = 5.0


@dataclass(slots=True)
class Flood:
    """What came of it.

    Attributes:
        sent: requests that were written to the gateway's connections.
        statuses: of the answers that were read, and how many of each.
        bodies: of the answers to these.
        seconds: how long it took.
    """

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: set[bytes] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.sent / self.seconds


async def flood(
    url: str, request: bytes, *, connections: int, goes_on: Callable[[], bool]
) -> Flood:
    """Send a request as fast as it goes, as long as it is to go on."""
    host, _, port = url.removeprefix("http://").partition(":")
    told, started = Flood(), time.monotonic()

    async def go_on() -> None:
        while goes_on():
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    await _send_always(reader, writer)
                finally:
                    writer.transport.abort()

    async def _send_always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while goes_on():
            writer.write(request * _AT_ONCE)
            told.sent += _AT_ONCE
            for _ in range(_AT_ONCE):
                status, body = await asyncio.wait_for(read_answer(reader), _ANSWERED_BY)
                told.statuses[status] += 1
                told.bodies.add(body)

    await asyncio.gather(*(go_on() for _ in range(connections)))
    told.seconds = time.monotonic() - started
    return told


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Give status and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    body = await reader.readexactly(int(lengths[0].partition(b":")[2]))
    return int(head.split(b" ", 2)[1]), body


def write_request(method: str, path: str, key: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nx-api-key: {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
