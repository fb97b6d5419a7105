"""Who runs what: free slots of nodes, and the tasks that wait for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence

from dria_magpie.errors import EngineError


class Slots:
    """Hands out slots of nodes, first come, first served.

    A node is known by its position. A slot that a cancelled waiter was just given goes on to the
    next one.
    """

    def __init__(self, free: Sequence[int]) -> None:
        self._free = list(free)
        self._taken = [0] * len(self._free)
        self._end: Callable[[], EngineError] | None = None
        self._waiting: deque[tuple[asyncio.Future[int], Collection[int]]] = deque()

    def close(self, error: Callable[[], EngineError]) -> None:
        """End every wait, and each later one, in an error of its own: no slot is given any more."""
        self._end = error
        for future, _ in self._waiting:
            if not future.done():
                future.set_exception(error())

    def taken(self, node: int) -> int:
        """Tell how many slots of a node are in use."""
        return self._taken[node]

    async def take(self, nodes: Collection[int]) -> int:
        """Wait for a slot of any of these nodes; give the node with most slots free.

        Raises:
            EngineError: the one of `close`.
        """
        if self._end is not None:
            raise self._end()
        node = max(nodes, key=self._free.__getitem__)
        if self._free[node] > 0:
            self._free[node] -= 1
            self._taken[node] += 1
            return node
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, nodes))
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._waiting.remove((future, nodes))
            elif future.exception() is None:
                self.give_back(future.result())
            raise

    def give_back(self, node: int) -> None:
        """Free a slot: the first waiting task that the node can run gets it."""
        for index, (future, nodes) in enumerate(self._waiting):
            if node in nodes and not future.done():
                del self._waiting[index]
                future.set_result(node)
                return
        self._free[node] += 1
        self._taken[node] -= 1
