"""Reads an answer that comes in pieces (server-sent events), and puts it together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from dria_magpie.engines.chat.failures import CallFailed, Failure, Kind
from dria_magpie.engines.chat.payload import parse_body

_LONGEST_LINE = 2**20
MOST_BYTES = 64 * 2**20


class Source(Protocol):
    """What bytes come from; aiohttp's StreamReader is one."""

    async def readany(self) -> bytes:
        """Give what has arrived, or nothing at the end."""


async def read_stream(source: Source, secret: str | None = None) -> dict[str, Any]:
    """Give the completion object that a stream's chunks amount to.

    Args:
        source: the stream's bytes.
        secret: what must not be quoted in messages.

    Raises:
        CallFailed: the stream broke off, or an error came in it.
    """
    pieces = _Pieces()
    async for data in _events(source):
        if data == b"[DONE]":
            break
        pieces.add(parse_body(data, secret))
    else:
        if pieces.finish_reason is None:
            raise CallFailed(Failure(Kind.LOST, "broke off in the middle of an answer"))
    return pieces.whole()


class _Pieces:
    """What a stream's chunks amount to so far."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._head: dict[str, Any] = {}
        self._texts: list[str] = []
        self._thoughts: list[str] = []

    def add(self, chunk: Any) -> None:
        try:
            self._head |= {name: chunk[name] for name in ("model", "usage") if chunk.get(name)}
            for choice in (chunk.get("choices") or ())[:1]:
                delta = choice.get("delta") or {}
                self._texts.append(delta.get("content") or choice.get("text") or "")
                thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
                self._thoughts.append(thought)
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
        except (AttributeError, TypeError) as error:
            raise CallFailed(Failure(Kind.BODY, "sent a chunk that is none")) from error

    def whole(self) -> dict[str, Any]:
        texts, thoughts = ("".join(filter(_is_text, p)) for p in (self._texts, self._thoughts))
        message = {"content": texts, "reasoning_content": thoughts}
        choice = {"message": message, "finish_reason": self.finish_reason}
        return self._head | {"choices": [choice]}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


async def _events(source: Source) -> AsyncIterator[bytes]:
    """Yield what stands behind ``data:`` (llama.cpp also writes ``error:``)."""
    rest = b""
    size = 0
    while piece := await source.readany():
        size += len(piece)
        if size > MOST_BYTES:
            raise CallFailed(Failure(Kind.BODY, f"answered with more than {MOST_BYTES} bytes"))
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            name, _, data = line.partition(b":")
            if name in {b"data", b"error"}:
                yield data.strip()
        if len(rest) > _LONGEST_LINE:
            raise CallFailed(Failure(Kind.BODY, f"sent a line of more than {_LONGEST_LINE} bytes"))
