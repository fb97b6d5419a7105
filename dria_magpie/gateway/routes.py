"""HTTP: the three calls of the ``dria`` SDK, and whether the gateway lives."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from dria_magpie.gateway.catalogue import Catalogue
from dria_magpie.gateway.defects import locate
from dria_magpie.gateway.identities import Identities
from dria_magpie.gateway.idlers import Idlers
from dria_magpie.gateway.keyring import Keyring
from dria_magpie.gateway.limits import LONGEST_WAIT
from dria_magpie.gateway.polls import Polls, make_list
from dria_magpie.gateway.posts import Posts, make_refusal
from dria_magpie.gateway.queue import KeyQueue

logger = logging.getLogger(__name__)
_METHODS = {
    "/health": "GET",
    "/rpc/get_alive_peers": "GET",
    "/rpc/results": "GET",
    "/rpc/task": "POST",
}
_NO_KEY = "this gateway does not know the API key in x-api-key; dria-magpie gateway key makes them"
_SHORT = 0.5


class Routes:
    """Answers requests. A client dies of an error, so that errors are for those who are none.

    Args:
        keyring: knows the keys.
        posts: take tasks.
        polls: answers questions for results.
        catalogue: says what is served.
        identities: say so to clients.
        idlers: are told of who asks.
    """

    def __init__(
        self,
        keyring: Keyring,
        posts: Posts,
        polls: Polls,
        catalogue: Catalogue,
        identities: Identities,
        idlers: Idlers,
    ) -> None:
        self._keyring = keyring
        self._idlers = idlers
        self._posts = posts
        self._polls = polls
        self._catalogue = catalogue
        self._identities = identities
        self._loop = asyncio.get_running_loop()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, whatever it is."""
        self._idlers.note(request)
        try:
            return await self._route(request)
        except web.HTTPException as error:
            return make_refusal(error.status, error.reason)
        except ConnectionError:
            raise  # whoever asked is gone
        except Exception as error:  # noqa: BLE001 - a stranger's request costs that request only
            context = {"action": "request_broke", "path": request.path}
            logger.error("a request broke: %s", locate(error), extra=context)  # noqa: TRY400
            if request.path == "/rpc/results":
                await asyncio.sleep(_SHORT)
                return make_list([])
            return make_refusal(500, "the gateway failed; its log says more")

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        method = _METHODS.get(request.path)
        if request.path == "/health" and method == request.method:
            return web.Response(text="Node is healthy")
        queue = await self._keyring.find(request.headers.get("x-api-key"))
        if queue is None:
            return make_refusal(401, _NO_KEY)
        if method is None:
            return make_refusal(
                404, f"there is no {request.path:.80}; there are {', '.join(_METHODS)}"
            )
        if method != request.method:
            return make_refusal(405, f"{request.path} takes {method}")
        if request.path == "/rpc/get_alive_peers":
            admission = queue.turnstile.decide(self._loop.time())
            await asyncio.sleep(admission.wait if admission.admitted else LONGEST_WAIT)
            queue.outbox.beat(self._loop.time())
            return make_list(self._identities.heartbeats(self._catalogue.names))
        if request.path == "/rpc/results":
            return await self._give_results(request, queue)
        return await self._posts.answer(request, queue)

    async def _give_results(self, request: web.BaseRequest, queue: KeyQueue) -> web.StreamResponse:
        admission = queue.turnstile.decide(self._loop.time())
        if not admission.admitted:
            return make_list([])
        await asyncio.sleep(admission.wait)
        return await self._polls.answer(request, queue)
