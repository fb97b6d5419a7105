"""An OpenAI-compatible endpoint on 127.0.0.1 that misbehaves as told.

::

    async with MisbehavingEndpoint([status(429, headers={"Retry-After": "0"}), answer("Hi")]) as it:
        engine = OpenAIEngine(it.url, models=["m"])
        ...
        assert len(it.calls) == 2

A script is a list of behaviours, one a call, of which the last goes on for ever; or a function
from a `Call` to a behaviour.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Call:
    """One request as it arrived; `connection` is the same for calls on one connection."""

    path: str
    headers: dict[str, str]
    body: Any
    connection: int

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.body["messages"]]


Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
Script = Sequence[Behaviour] | Callable[[Call], Behaviour]


def completion(content: Any = "Hello.", *, finish_reason: str | None = "stop", **more: Any) -> Any:
    """A completion object; `more` goes into the message."""
    message = {"role": "assistant", "content": content, **more}
    return {
        "model": "really-m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 5},
        },
    }


def raw(
    body: str | bytes,
    content_type: str = "application/json",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Behaviour:
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.Response(body=data, content_type=content_type, status=status, headers=headers)

    return behave


def answer(content: Any = "Hello.", **more: Any) -> Behaviour:
    return raw(json.dumps(completion(content, **more)))


def status(code: int, message: str = "no", headers: dict[str, str] | None = None) -> Behaviour:
    return raw(json.dumps({"error": {"message": message}}), status=code, headers=headers)


def html(code: int = 502) -> Behaviour:
    return raw(f"<html><body>Bad gateway {'x' * 5000}</body></html>", "text/html", status=code)


def never() -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return behave


def slow(seconds: float, then: Behaviour | None = None) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await (then or answer())(request)

    return behave


def waiting(event: asyncio.Event, then: Behaviour | None = None) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        await event.wait()
        return await (then or answer())(request)

    return behave


def cut_before() -> Behaviour:
    """Breaks the connection off without a word."""

    async def behave(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return behave


def cut_within(
    begin: bytes = b'{"choices": [', content_type: str = "application/json"
) -> Behaviour:
    """Breaks the connection off in the middle of the body."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        response.content_length = 10_000
        await response.prepare(request)
        await response.write(begin)
        assert request.transport is not None
        request.transport.close()
        return response

    return behave


def stream(*events: Any, done: bool = True) -> Behaviour:
    """Sends events of a stream; text and bytes are sent as they are."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            raw_event = isinstance(event, bytes)
            await response.write(event if raw_event else f"data: {json.dumps(event)}\n\n".encode())
        if done:
            await response.write(b"data: [DONE]\n\n")
        return response

    return behave


def delta(content: str | None = None, *, finish_reason: str | None = None, **more: Any) -> Any:
    piece = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": piece | more, "finish_reason": finish_reason}]}


class MisbehavingEndpoint:
    """The server.

    Attributes:
        calls: the chat calls that arrived.
        model_calls: how often the models were asked for.
        running: chat calls that are being answered now.
        most_running: the most of them at once.
        hung_up: set once a client gave up waiting.
        idle: set while no chat call is being answered, once there was one.
    """

    def __init__(self, script: Script = (), *, models: Behaviour | None = None) -> None:
        self._script = script or [answer()]
        self._models = models or raw(json.dumps({"data": [{"id": "m"}, {"id": "n"}]}))
        self.calls: list[Call] = []
        self.model_calls = 0
        self.running = self.most_running = 0
        self.hung_up = asyncio.Event()
        self.idle = asyncio.Event()
        self.arrived = asyncio.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._on_models)
        app.router.add_post("/v1/chat/completions", self._on_chat)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def wait_for_calls(self, number: int) -> None:
        """Wait until so many chat calls have arrived."""
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(lambda: len(self.calls) >= number), 10)

    async def _on_models(self, request: web.Request) -> web.StreamResponse:
        self.model_calls += 1
        return await self._models(request)

    async def _on_chat(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.path, dict(request.headers), await request.json(), id(request.protocol))
        self.calls.append(call)
        number = len(self.calls)
        async with self.arrived:
            self.arrived.notify_all()
        self.running += 1
        self.idle.clear()
        self.most_running = max(self.most_running, self.running)
        try:
            if callable(self._script):
                behave = self._script(call)
            else:
                behave = self._script[min(number, len(self._script)) - 1]
            return await behave(request)
        except asyncio.CancelledError:
            self.hung_up.set()
            raise
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()
