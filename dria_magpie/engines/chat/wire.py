"""One HTTP call to an OpenAI-compatible endpoint: bytes out, a completion object back."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp

from dria_magpie.engines.chat.failures import CallFailed, Failure, Kind, quote
from dria_magpie.engines.chat.payload import parse_body
from dria_magpie.engines.chat.refusals import read_refusal
from dria_magpie.engines.chat.sse import MOST_BYTES, read_stream

_CONNECT_SECONDS = 10.0
_LARGE = 2**20
_JSON = {"Content-Type": "application/json"}


class Connection:
    """HTTP to one endpoint, each call by itself: what fails is a `CallFailed`.

    It opens itself in the event loop of the first call, and anew in the next loop.

    Args:
        url: the endpoint's base URL.
        api_key: sent as a bearer token.
        timeout: seconds for one call.
        fresh: open a connection for each call, and close it afterwards.

    Attributes:
        known: whether the endpoint ever answered anything.
    """

    def __init__(
        self, url: str, *, api_key: str | None, timeout: float, fresh: bool = False
    ) -> None:
        self._url = url
        self._api_key = api_key
        self._timeout = timeout
        self._fresh = fresh
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self.known = False

    async def post(self, route: str, body: bytes) -> Any:
        """Send JSON, give the JSON that comes back; a stream is given as one completion object."""
        return await self._call("POST", route, body)

    async def get(self, route: str) -> Any:
        """Give the JSON of a route."""
        return await self._call("GET", route, None)

    async def aclose(self) -> None:
        """Close what is open; the next call opens it again."""
        session, self._session = self._session, None
        if session is None:
            return
        if self._loop is asyncio.get_running_loop():
            await session.close()
        else:
            session.detach()  # its event loop is gone, and its connections with it

    async def _call(self, method: str, route: str, body: bytes | None) -> Any:
        session = self._session
        if session is None or self._loop is not asyncio.get_running_loop():
            session = self._open()
        try:
            async with session.request(
                method,
                route if route.startswith("http") else self._url + route,
                # aiohttp warns of large bodies unless they are files
                data=io.BytesIO(body) if body and len(body) >= _LARGE else body,
                headers=_JSON if body else None,
                allow_redirects=False,
            ) as response:
                self.known = True
                return await self._read(response)
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
            raise CallFailed(_read_exception(error, self._timeout)) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is not None:
            self._session.detach()
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else None
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=_connector(self._fresh),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=_CONNECT_SECONDS),
        )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> Any:
        if response.status == 200 and response.content_type == "text/event-stream":
            return await read_stream(response.content, self._api_key)
        data = await _read_all(response.content)
        if response.status != 200:
            text = response.headers.get("Location") or data.decode("utf-8", "replace")
            wait = response.headers.get("Retry-After")
            raise CallFailed(read_refusal(response.status, text, wait, self._api_key))
        return parse_body(data, self._api_key)


def _connector(fresh: bool) -> aiohttp.TCPConnector:
    if fresh:
        return aiohttp.TCPConnector(limit=0, force_close=True)
    # uvicorn, under vLLM and SGLang, closes idle connections after 5 s: be first, or lose calls
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0)


async def _read_all(content: aiohttp.StreamReader) -> bytes:
    pieces = []
    size = 0
    while piece := await content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise CallFailed(Failure(Kind.BODY, f"answered with more than {MOST_BYTES} bytes"))
    return b"".join(pieces)


def _read_exception(error: Exception, timeout: float) -> Failure:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failure(Kind.REFUSED, f"took no connection within {_CONNECT_SECONDS:g} s")
    if isinstance(error, TimeoutError):
        return Failure(Kind.TIMEOUT, f"did not answer within {timeout:g} s")
    if isinstance(error, aiohttp.InvalidURL):
        return Failure(Kind.INSECURE, f"is no URL that can be asked: {quote(str(error))}")
    if isinstance(error, aiohttp.ClientSSLError):
        return Failure(Kind.INSECURE, f"could not prove who it is: {quote(str(error))}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure(Kind.REFUSED, f"cannot be reached: {quote(str(error.os_error))}")
    if isinstance(error, UnicodeError):
        return Failure(Kind.REFUSED, "has a host name that cannot be one")
    if isinstance(error, aiohttp.ClientResponseError):
        return Failure(Kind.BODY, f"does not speak HTTP: {quote(error.message)}")
    return Failure(
        Kind.LOST, f"broke the connection off: {quote(str(error)) or type(error).__name__}"
    )
