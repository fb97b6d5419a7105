"""Whether the SDK still listens to its gateway while an ``execute`` waits for results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dria_magpie.errors import NetworkError

# Seconds; a result that was taken in is given out by the next look, as the SDK looks each second.
_LOOK = 1.5


@asynccontextmanager
async def end_when_deaf(client: Any) -> AsyncIterator[None]:
    """End what runs inside once the client's background task has died: nothing comes any more.

    The SDK tells nobody and waits on. What was taken in by then is still given out, and another
    `execute` that has the client listen again is good for this one too.

    Raises:
        NetworkError: the client stopped listening, and was not told to.
    """
    limit = asyncio.timeout(None)
    watch = _Watch(client, limit)
    try:
        async with limit:
            watch.start()
            try:
                yield
            finally:
                watch.stop()
    except TimeoutError:
        if not limit.expired():
            raise
        raise NetworkError(
            f"the gateway at {client.rpc.base_url} went away, or no longer takes this key, while "
            "tasks waited for their results: its log says which. Hand the tasks in again once it "
            "is back"
        ) from watch.cause


class _Watch:
    """Looks by a timer, not in a task: none can be left behind.

    Attributes:
        cause: what the background task ended with, once it is known to have.
    """

    def __init__(self, client: Any, limit: asyncio.Timeout) -> None:
        self.cause: BaseException | None = None
        self._client = client
        self._limit = limit
        self._was_deaf = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        background = self._client.background_tasks
        is_deaf = (
            background is not None
            and background.done()
            and not self._client.shutdown_event.is_set()
        )
        if is_deaf and self._was_deaf:
            self.cause = None if background.cancelled() else background.exception()
            self._limit.reschedule(asyncio.get_running_loop().time())
        else:
            self._was_deaf = is_deaf
            self.start()
