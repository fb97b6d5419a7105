"""Messages as they come from the broker, whoever wrote them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from nats.aio.msg import Msg

from dria_magpie.errors import NetworkError


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came.

    Attributes:
        subject: what it was published on.
        payload: its bytes.
        seq: its place in its stream; 0 if it came from none.
        reply: where an answer, or the word that it is done with, goes; "" for nowhere.
        status: what the broker says instead of a message; 0 for a message.
    """

    subject: str
    payload: bytes
    seq: int = 0
    reply: str = ""
    status: int = 0


def read_delivery(message: Msg) -> Delivery:
    """Read a message, with its place in the stream that it comes from."""
    reply = message.reply or ""
    # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.…
    if reply.startswith("$JS.ACK."):
        # The headers of what somebody handed in are his own, and no word of the broker.
        return Delivery(message.subject, message.data, int(reply.split(".")[5]), reply)
    status = (message.headers or {}).get("Status", "")
    return Delivery(
        message.subject, message.data, 0, reply, int(status) if status.isdecimal() else 0
    )


def read_answer(message: Msg) -> dict[str, Any]:
    """Read an answer of JetStream, which may tell of an error."""
    try:
        value = json.loads(message.data)
    except ValueError as error:
        raise NetworkError(f"the broker answered {message.data[:80]!r}") from error
    return value if isinstance(value, dict) else {}


def read_headers(nc: Any) -> None:
    """Have nats-py read headers in this way: its own takes longer, and ends at bad ones for good.

    Strangers write headers, and nobody can be told of bad ones. So what is no header is none.
    """

    async def read(headers: bytes | None) -> dict[str, str] | None:
        first, *lines = (headers or b"").decode(errors="replace").split("\r\n")
        pairs = (line.partition(":") for line in lines if ":" in line)
        found = {name: value.strip() for name, _, value in pairs if name != "Status"}
        status = first.removeprefix("NATS/1.0").strip()
        if status:
            found["Status"], _, found["Description"] = status.partition(" ")
        return found or None

    nc._process_headers = read  # noqa: SLF001 - there is no other way to keep a client alive
