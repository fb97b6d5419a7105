"""What clients' tasks may take of the broker's disk: who has filled most of it loses what waits."""

from __future__ import annotations

import logging
from collections import Counter
from time import monotonic

from dria_magpie.network.hub.streams import Streams
from dria_magpie.network.hub.tasks import STREAM, Tasks

logger = logging.getLogger(__name__)
MOST_BYTES = 4 * 2**30
_LOOK = 2.0
_SAMPLES = 64


class Quota:
    """Keeps the queues from filling the disk.

    Clients hand in no more than they wait for, so only one that floods comes to this limit; and one
    that does not finds its tasks unknown, and hands them in again.

    Args:
        streams: the broker's streams.
        tasks: the queues.
    """

    def __init__(self, streams: Streams, tasks: Tasks) -> None:
        self._streams = streams
        self._tasks = tasks
        self._looked = 0.0

    async def enforce(self) -> None:
        """Look now and then; if there is too much, drop the queues of whom most of it is."""
        if monotonic() - self._looked < _LOOK:
            return
        self._looked = monotonic()
        held = await self._streams.size(STREAM)
        if held <= MOST_BYTES:
            return
        client = await self._find_largest()
        if not client:
            return
        context = {"action": "queue_dropped", "client": client, "bytes": held}
        logger.error("tasks fill the disk: the queues of a client are dropped", extra=context)
        await self._tasks.clear(f"task.{client}.>")

    async def _find_largest(self) -> str:
        """Give the client who probably has most: counting all tasks would take too long."""
        first, last = await self._streams.first(STREAM), await self._streams.last(STREAM)
        # Headers take room, too, and are not seen here.
        least = await self._streams.size(STREAM) / max(1, await self._streams.count(STREAM))
        weights: Counter[str] = Counter()
        seq = first
        for left in range(_SAMPLES, 0, -1):
            found = await self._streams.read_next(STREAM, "task.>", seq)
            if found is None:
                break
            weights[found.subject.split(".")[1]] += max(len(found.payload), int(least))
            # From what was found: else all places of a gap would stand for the task after it.
            seq = found.seq + max(1, (last - found.seq) // left)
        return max(weights, key=weights.__getitem__, default="")
