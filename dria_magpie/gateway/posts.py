"""Tasks that are handed in: taken, answered, and told of only to clients that had the answer."""

from __future__ import annotations

import asyncio
import json
import logging

from aiohttp import ClientPayloadError, web
from aiohttp.http import HttpProcessingError

from dria_magpie.errors import InvalidInputError
from dria_magpie.gateway.delivery import Watch, Watches
from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.intake import Intake
from dria_magpie.gateway.limits import BODY_SECONDS, MOST_BODY
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.release import GIVEN_UP_SECONDS, PROXY_QUIET_SECONDS, QUIET_SECONDS
from dria_magpie.gateway.wire import Order, read_order

logger = logging.getLogger(__name__)
_BROKEN_BODY = (ClientPayloadError, HttpProcessingError, web.RequestPayloadError)
_PROXIES_ADD = ("Forwarded", "Via", "X-Forwarded-For")


class Posts:
    """Answers those who hand tasks in, and sees whether they had the answer.

    Args:
        intake: takes tasks.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._loop = asyncio.get_running_loop()
        self._watches = Watches()

    async def answer(self, request: web.BaseRequest, queue: KeyQueue) -> web.StreamResponse:
        """Take a task, or say why not; a client that is to come again has its connection cut."""
        admission = queue.turnstile.decide(self._loop.time())
        if queue.is_deaf and (queue.is_full or not admission.admitted):
            context = {"action": "post_cut_off", "key": queue.key.name}
            logger.info("a task was not accepted: too many, too fast", extra=context)
            return _cut_off(request)
        await asyncio.sleep(admission.wait)
        try:
            order = await _read(request)
        except InvalidInputError as error:
            return make_refusal(400, str(error))
        too_fast = "" if admission.admitted else admission.reason
        entry = await self._intake.take(queue, order, too_fast)
        entry.posts += 1
        post, watch = entry.posts, Watch(request)
        handed_over = False
        try:
            if not await self._intake.settle(queue, entry):
                return _cut_off(request)
            response = web.json_response({"data": {"taskId": order.id}})
            await response.prepare(request)
            await response.write_eof()
            settling = self._settle(queue, entry, post, watch, _quiet(request))
            self._watches.begin(watch, settling)
            handed_over = True
        finally:
            if not handed_over:
                watch.close()
                queue.note_known(entry, post, self._loop.time() + GIVEN_UP_SECONDS)
        return response

    async def settle(self) -> None:
        """Decide what became of the answers that are on their way."""
        await self._watches.settle()

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
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise InvalidInputError(
            f"a body comes as it is, not with Content-Encoding {encoding!r:.80}"
        )
    if (request.content_length or 0) > MOST_BODY:
        raise _too_large()
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > MOST_BODY:
                    raise _too_large()
    except TimeoutError:
        raise InvalidInputError(f"the body did not come within {BODY_SECONDS:.0f} s") from None
    except _BROKEN_BODY as error:
        # Not its text: it may quote the body.
        raise InvalidInputError(f"the body is broken: {type(error).__name__}") from None
    return read_order(bytes(body))


def _cut_off(request: web.BaseRequest) -> web.Response:
    """Tear the connection down: an SDK takes any answer for yes, and hands in again without one."""
    if request.transport is not None:
        request.transport.abort()
    return make_refusal(503, "nobody reads this, as the connection is gone")


def _too_large() -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(
        MOST_BODY, reason=f"a body has {MOST_BODY:,} bytes at most"
    )


def make_refusal(status: int, reason: str) -> web.Response:
    """Give the answer to who is refused."""
    return web.Response(
        status=status, text=json.dumps({"error": reason}), content_type="application/json"
    )
