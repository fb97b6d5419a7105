"""All keys' tasks: taken in, handed out in turns, and found again after a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable

from dria_magpie.errors import StoreError
from dria_magpie.gateway.entry import Burst, Entry
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.release import GIVEN_UP_SECONDS
from dria_magpie.gateway.store import ApiKey, Kept, Store
from dria_magpie.gateway.wire import Order

logger = logging.getLogger(__name__)


class Desk:
    """Takes tasks in, and hands them out: one of each key in turn.

    Args:
        store: which has them all.
        hold: seconds after which results go out as they come.

    Attributes:
        news: set when there may be a task to run.
    """

    def __init__(self, store: Store, hold: float) -> None:
        self.news = asyncio.Event()
        self._store = store
        self._hold = hold
        self._queues: dict[int, KeyQueue] = {}
        self._by_digest: dict[str, KeyQueue] = {}
        self._turns: deque[KeyQueue] = deque()
        self._bursts = 0
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def queues(self) -> tuple[KeyQueue, ...]:
        """Every key's tasks."""
        return tuple(self._queues.values())

    def find(self, digest: str) -> KeyQueue | None:
        """Give the tasks of the key with this digest; None if there is no such key."""
        return self._by_digest.get(digest)

    def update(self, keys: Iterable[ApiKey], now: float) -> tuple[KeyQueue, ...]:
        """Take over which keys there are; give those that are void from now on."""
        known = {key.number: key for key in keys}
        gone = tuple(queue for number, queue in self._queues.items() if number not in known)
        for queue in gone:
            del self._queues[queue.key.number]
            queue.revoked = True
            queue.waiting.clear()
            queue.notify()
        for number, key in known.items():
            if number not in self._queues:
                self._queues[number] = KeyQueue(key, now, self._hold)
        self._by_digest = {queue.key.digest: queue for queue in self.queues}
        return gone

    def load(self, tasks: Iterable[Kept], now: float) -> None:
        """Take up what an earlier process has left."""
        bursts: dict[int, Burst] = {}
        lag = now - time.time()
        for kept in tasks:
            queue = self._queues.get(kept.key)
            if queue is None:
                continue
            # Where the clock was set back meanwhile, it did not come in the future.
            came = min(kept.received + lag, now)
            burst = bursts.setdefault(kept.burst, Burst(kept.burst, came, came))
            burst.last = max(burst.last, came)
            entry = Entry(kept.id, burst, kept, attempts=kept.attempts, refused=kept.refused)
            entry.accepted.set()
            # The answer to its POST may have gone down with the earlier process
            entry.posts, entry.known_from = 1, came + GIVEN_UP_SECONDS
            entry.size = kept.size or 0
            entry.finished = min((kept.finished or 0.0) + lag, now)
            if kept.delivered is not None:
                entry.status, entry.delivered = "delivered", min(kept.delivered + lag, now)
            elif kept.size is not None:
                entry.status = "done"
            queue.add(entry)
            if entry.status == "accepting":
                self.put(queue, entry)
        self._bursts = max(bursts, default=0)

    def take_in(
        self,
        queue: KeyQueue,
        order: Order,
        now: float,
        *,
        identity: int,
        item: str | None = None,
        refused: bool = False,
    ) -> Entry:
        """Take a task; it is accepted once `Entry.accepted` is set and it has its `Entry.kept`.

        Args:
            queue: its key's.
            order: the task.
            now: the loop's time.
            identity: the number of the node that the client picked.
            item: its result, where that is known already.
            refused: whether it is the answer to one too many.
        """
        burst = queue.outbox.find_burst(now)
        if burst is None:
            self._bursts += 1
            burst = Burst(self._bursts, now, now)
        burst.last = now
        entry = Entry(order.id, burst, refused=refused)
        queue.add(entry)
        keeping = asyncio.create_task(self._keep(queue, entry, order, identity, item))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        return entry

    async def take_again(self, queue: KeyQueue, entry: Entry) -> None:
        """Take a task that is there already: its result goes out, even if it did before."""
        thought = queue.take_again(entry)
        try:
            await self._store.note_delivered([each.number for each in thought], None)
        except StoreError as error:
            context = {"action": "delivery_not_kept"}
            logger.error("a delivery is not noted: %s", error, extra=context)  # noqa: TRY400

    def put(self, queue: KeyQueue, entry: Entry, *, first: bool = False) -> None:
        """Have a task run: after the others of its key, or before them."""
        if queue.revoked:
            return
        entry.status = "waiting"
        if first:
            queue.waiting.appendleft(entry)
        else:
            queue.waiting.append(entry)
        if queue not in self._turns:
            self._turns.append(queue)
        self.news.set()

    def next(self) -> tuple[KeyQueue, Entry] | None:
        """Give the task that is to be run next."""
        while self._turns:
            queue = self._turns.popleft()
            if not queue.waiting:
                continue
            entry = queue.waiting.popleft()
            if queue.waiting:
                self._turns.append(queue)
            entry.status = "running"
            return queue, entry
        return None

    async def settle(self) -> None:
        """Wait until the store has everything that was taken in."""
        await asyncio.gather(*self._keeping)

    async def _keep(
        self, queue: KeyQueue, entry: Entry, order: Order, identity: int, item: str | None
    ) -> None:
        try:
            entry.kept = await self._store.accept(
                order,
                key=queue.key.number,
                burst=entry.burst.number,
                identity=identity,
                received=time.time(),
                item=item,
                refused=entry.refused,
            )
        except StoreError as error:
            queue.remove(entry)
            context = {"action": "task_not_accepted", "key": queue.key.name}
            logger.error("a task was not accepted: %s", error, extra=context)  # noqa: TRY400
        else:
            if item is None:
                self.put(queue, entry)
            else:
                queue.finish(entry, len(item), asyncio.get_running_loop().time())
        finally:
            entry.accepted.set()
