"""Tasks that are handed in: taken, answered, and told of only to clients that had the answer."""

from __future__ import annotations

import asyncio
import json
import logging

from aiohttp import web

from dria_magpie.errors import InvalidInputError
from dria_magpie.gateway.delivery import Watch
from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.intake import Intake
from dria_magpie.gateway.limits import BODY_SECONDS, MOST_BODY
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.release import GIVEN_UP_SECONDS, PROXY_QUIET_SECONDS, QUIET_SECONDS
from dria_magpie.gateway.wire import Order, read_order

logger = logging.getLogger(__name__)
_PROXIES_ADD = ("Forwarded", "Via", "X-Forwarded-For")


class Posts:
    """Answers those who hand tasks in, and sees whether they had the answer.

    Args:
        intake: takes tasks.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._loop = asyncio.get_running_loop()
        self._watching: dict[asyncio.Task[None], Watch] = {}

    async def answer(self, request: web.BaseRequest, queue: KeyQueue) -> web.StreamResponse:
        """Take a task, or say why not."""
        admission = queue.turnstile.decide(self._loop.time())
        if queue.is_deaf and (queue.is_full or not admission.admitted):
            return make_refusal(429, "too many tasks, too fast: hand them in later")
        await asyncio.sleep(admission.wait)
        try:
            order = await _read(request)
        except InvalidInputError as error:
            return make_refusal(400, str(error))
        entry = self._intake.take(queue, order, "" if admission.admitted else admission.reason)
        entry.posts += 1
        post, watch = entry.posts, Watch(request)
        handed_over = False
        try:
            if not await self._intake.settle(queue, entry):
                return make_refusal(503, "the task was not accepted: the gateway's log says why")
            response = web.json_response({"data": {"taskId": order.id}})
            await response.prepare(request)
            await response.write_eof()
            watching = asyncio.create_task(self._settle(queue, entry, post, watch, _quiet(request)))
            self._watching[watching] = watch
            watching.add_done_callback(self._watching.pop)
            handed_over = True
        finally:
            if not handed_over:
                watch.close()
                queue.note_known(entry, post, self._loop.time() + GIVEN_UP_SECONDS)
        return response

    async def settle(self) -> None:
        """Decide what became of the answers that are on their way."""
        for watch in self._watching.values():
            watch.hurry()
        await asyncio.gather(*self._watching)

    async def _settle(
        self, queue: KeyQueue, entry: Entry, post: int, watch: Watch, quiet: float
    ) -> None:
        written = self._loop.time()
        if await watch.outcome() == "received":
            queue.note_known(entry, post, written + quiet)
            return
        context = {"action": "post_broke", "key": queue.key.name, "task_id": entry.id}
        logger.info("a connection broke: the client does not know its task", extra=context)
        queue.note_known(entry, post, self._loop.time() + GIVEN_UP_SECONDS)


def _quiet(request: web.BaseRequest) -> float:
    proxied = any(name in request.headers for name in _PROXIES_ADD)
    return PROXY_QUIET_SECONDS if proxied else QUIET_SECONDS


async def _read(request: web.BaseRequest) -> Order:
    """Read a POST's body; nothing of it stays with the request."""
    if (request.content_length or 0) > MOST_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > MOST_BODY:
                    raise _too_large()
    except TimeoutError:
        raise InvalidInputError(f"the body did not come within {BODY_SECONDS:.0f} s") from None
    return read_order(bytes(body))


def _too_large() -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(
        MOST_BODY, reason=f"a body has {MOST_BODY:,} bytes at most"
    )


def make_refusal(status: int, reason: str) -> web.Response:
    """Give the answer to who is refused."""
    return web.Response(
        status=status, text=json.dumps({"error": reason}), content_type="application/json"
    )
