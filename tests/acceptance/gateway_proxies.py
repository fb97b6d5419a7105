"""What may stand between a client and the gateway: each in a thread, on a loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any, Literal

import aiohttp
from aiohttp import web

from tests.acceptance.gateway_wire import PATIENCE, RESET


class Threaded:
    """Something that serves in a thread, on a loop of its own, at an address of its own."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._ended = asyncio.Event()
        self.url = ""

    async def serve(self) -> None:
        """Serve until `_ended`; set `url` and `_started` when it listens."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self.serve(),))
        self._thread.start()
        assert self._started.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()


class PlainGateway(Threaded):
    """A gateway that answers polls at once, as a plain one would: it holds none of them open."""

    async def serve(self) -> None:
        self._kept: list[str] = []
        self._polling: asyncio.Task[None] | None = None
        app = web.Application(client_max_size=2**20)
        app.router.add_get("/rpc/results", self._give_results)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as self._http:
            self._started.set()
            await self._ended.wait()
            if self._polling:
                self._polling.cancel()
                await asyncio.gather(self._polling, return_exceptions=True)
        await runner.cleanup()

    async def _give_results(self, request: web.Request) -> web.Response:
        if self._polling is None:
            key = request.headers["x-api-key"]
            self._polling = asyncio.create_task(self._poll(key))
        results, self._kept = self._kept, []
        return web.json_response({"data": {"results": results}})

    async def _poll(self, key: str) -> None:
        while True:
            answer = await self._http.get(
                f"{self._upstream}/rpc/results", headers={"x-api-key": key}
            )
            self._kept += (await answer.json())["data"]["results"]

    async def _pass_on(self, request: web.Request) -> web.Response:
        answer = await self._http.request(
            request.method,
            f"{self._upstream}{request.path}",
            headers={"x-api-key": request.headers["x-api-key"]},
            data=await request.read(),
        )
        return web.Response(
            status=answer.status, body=await answer.read(), content_type=answer.content_type
        )


class CuttingProxy(Threaded):
    """A proxy that breaks off connections on which something comes back.

    Args:
        upstream: the gateway's address.
        cuts: how many; after these it is honest.
        where: ``unread``: results are left unread, and both sides see a reset; ``behind``: they
            are read whole, as by a proxy, and the client gets one half of them; ``posted``: a task
            is handed in, and both sides see a reset before the client is told so.

    Attributes:
        cut: how many connections were broken off so far.
    """

    def __init__(
        self, upstream: str, cuts: int, where: Literal["unread", "behind", "posted"]
    ) -> None:
        super().__init__(upstream)
        self._cuts = cuts
        self._where = where
        self.cut = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._ended.wait()
        server.close()
        taking = asyncio.all_tasks() - {asyncio.current_task()}
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one call on; the SDK makes one on each connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            theirs, upstream = await self._connect()
            try:
                upstream.write(asked + await reader.readexactly(_find_length(asked)))
                told = await theirs.readuntil(b"\r\n\r\n")
                if self._is_to_cut(asked, told):
                    self.cut += 1
                    if self._where == "behind":
                        body = await theirs.readexactly(_find_length(told))
                        writer.write(told + body[: len(body) // 2])
                        await writer.drain()
                    else:
                        _reset(upstream)
                    _reset(writer)
                else:
                    writer.write(told + await theirs.readexactly(_find_length(told)))
                    await writer.drain()
            finally:
                upstream.close()
                writer.close()

    def _is_to_cut(self, asked: bytes, told: bytes) -> bool:
        if self.cut == self._cuts:
            return False
        if self._where == "posted":
            return asked.startswith(b"POST /rpc/task ")
        has_results = _find_length(told) > len(b'{"data": {"results": []}}')
        return asked.startswith(b"GET /rpc/results ") and has_results

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect with little room, so that a gateway cannot send everything at once."""
        host, _, port = self._upstream.removeprefix("http://").partition(":")
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, (host, int(port)))
        return await asyncio.open_connection(sock=one, limit=2048)


def _reset(writer: asyncio.StreamWriter) -> None:
    one = writer.get_extra_info("socket")
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


def _find_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0
