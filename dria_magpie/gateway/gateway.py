"""`Gateway`: the server, put together."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from dria_magpie.client import Dria
from dria_magpie.errors import InvalidInputError
from dria_magpie.gateway.catalogue import Catalogue
from dria_magpie.gateway.defects import locate
from dria_magpie.gateway.desk import Desk
from dria_magpie.gateway.http_log import make_logger
from dria_magpie.gateway.identities import Identities
from dria_magpie.gateway.idlers import Idlers, raise_limit
from dria_magpie.gateway.intake import Intake
from dria_magpie.gateway.keyring import Keyring
from dria_magpie.gateway.polls import Polls
from dria_magpie.gateway.posts import Posts
from dria_magpie.gateway.routes import Routes
from dria_magpie.gateway.runner import Runner
from dria_magpie.gateway.store import Store
from dria_magpie.gateway.store.connection import FILE, make_private
from dria_magpie.gateway.supply import Supply
from dria_magpie.gateway.upkeep import Upkeep
from dria_magpie.gateway.worker import Worker
from dria_magpie.network.server.files import holding, make_directory

logger = logging.getLogger(__name__)
HOLD_SECONDS = 45.0
# What is under way is in the store, or in the network, and a client whose gateway restarts gives
# up after two seconds.
_GRACE = 0.2
_BACKLOG = 1024
_AGAIN = 1.0


class Gateway:
    """Serves programs that use the ``dria`` SDK, and has their tasks run by this package.

    Args:
        dria: runs the tasks. The gateway starts it, and stops it in the end.
        directory: where keys and tasks are kept; made if it is not there.
        serve_as: what a model's name stands for in the network, where it is another one.
        hold: seconds after which results of tasks that came together go out as they come.
        models: names that the network is said to serve, before it is asked.

    Example::

        gateway = Gateway(Dria(), Path("gateway"), serve_as={"llama3.2:1b": "my-model"})
        url = await gateway.start("127.0.0.1", 0)
        ...
        await gateway.aclose()
    """

    def __init__(
        self,
        dria: Dria,
        directory: Path,
        *,
        serve_as: Mapping[str, str] | None = None,
        hold: float = HOLD_SECONDS,
        models: Sequence[str] = (),
    ) -> None:
        self._dria = dria
        self._directory = directory
        self._catalogue = Catalogue(serve_as or {}, models)
        self._hold = hold
        self._stack = AsyncExitStack()
        self._background: list[asyncio.Task[None]] = []

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> str:
        """Listen, then start the network in the background.

        Args:
            host: name or address to listen on.
            port: 0 for one that is free.
            tls: for HTTPS.

        Returns:
            The URL for clients.

        Raises:
            InvalidInputError: nobody can listen there.
            DriaMagpieError: another gateway uses the directory, or it cannot be written.
            StoreError: what is in it cannot be used.
        """
        async with AsyncExitStack() as stack:
            url = await self._start(stack, host, port, tls)
            self._stack = stack.pop_all()
        return url

    async def aclose(self) -> None:
        """Answer everybody, and stop; what is unfinished goes on at the next start."""
        await self._stack.aclose()

    async def _start(
        self, stack: AsyncExitStack, host: str, port: int, tls: ssl.SSLContext | None
    ) -> str:
        make_directory(self._directory)
        busy = f"another gateway uses {self._directory}: end it, or take another one with --dir"
        make_private(self._directory / "lock")
        stack.enter_context(holding(self._directory / "lock", busy))
        # Bound before anything that takes time: a client whose gateway restarts waits two seconds
        raise_limit()
        listening = _listen(host, port)
        stack.callback(listening.close)
        identities = Identities.open(self._directory)
        store = Store(self._directory / FILE)
        stack.push_async_callback(store.aclose)
        await store.start()
        desk = Desk(store, self._hold)
        supply = Supply(self._dria, self._catalogue, desk.news)
        worker = Worker(self._dria, store, self._catalogue, identities)
        runner = Runner(desk, supply, worker)
        keyring = Keyring(desk, store, runner)
        await keyring.refresh()
        desk.load(await store.read_tasks(), asyncio.get_running_loop().time())
        stack.push_async_callback(keyring.note_used)
        stack.push_async_callback(desk.settle)
        polls = Polls(store)
        posts = Posts(Intake(desk, self._catalogue, identities))
        idlers = Idlers()
        routes = Routes(keyring, posts, polls, self._catalogue, identities, idlers)
        stack.push_async_callback(posts.settle)
        await _serve(stack, routes, idlers, listening, tls)
        stack.push_async_callback(polls.settle)
        stack.callback(lambda: polls.close(desk.queues))
        # First of all: who asks meanwhile is answered, and what is handed in is kept
        stack.push_async_callback(self._stop, runner)
        for work in (supply.run, runner.run, Upkeep(desk, store, keyring).run, idlers.run):
            self._background.append(asyncio.create_task(_keep_up(work)))
        url = _describe(listening, tls)
        self._tell(url, desk)
        return url

    async def _stop(self, runner: Runner) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        # What waits for other machines goes on there; the rest is cut short.
        self._dria.drain()
        await runner.aclose(_GRACE)
        await self._dria.aclose()

    def _tell(self, url: str, desk: Desk) -> None:
        context = {"action": "gateway_ready", "url": url, "serves": self._catalogue.serves}
        logger.info("listening on %s", url, extra=context)
        if not desk.queues:
            logger.warning(
                "nobody has an API key yet: dria-magpie gateway key create NAME --dir %s",
                self._directory,
                extra={"action": "no_keys"},
            )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        raise InvalidInputError(
            f"cannot listen on {host}:{port}: {error}; --listen HOST:PORT says where else"
        ) from error


async def _serve(
    stack: AsyncExitStack,
    routes: Routes,
    idlers: Idlers,
    listening: socket.socket,
    tls: ssl.SSLContext | None,
) -> None:
    # Nobody's body is unpacked: a small one may become very large, and the SDK packs none.
    server = web.Server(
        routes.handle,
        handler_cancellation=True,
        access_log=None,
        logger=make_logger(),
        auto_decompress=False,
    )
    idlers.server = server
    runner = web.ServerRunner(server, shutdown_timeout=_GRACE)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listening, ssl_context=tls, backlog=_BACKLOG).start()


def _describe(listening: socket.socket, tls: ssl.SSLContext | None) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


async def _keep_up(work: Callable[[], Awaitable[None]]) -> None:
    """Do what never ends; a defect interrupts it, and does not end it."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whoever it is, the others are served
            context = {"action": "gateway_broke"}
            logger.error("a part broke: %s", locate(error), extra=context)  # noqa: TRY400
        await asyncio.sleep(_AGAIN)
