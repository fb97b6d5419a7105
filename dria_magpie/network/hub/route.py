"""The nodes that serve the same models, the best first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from dria_magpie.network.hub.member import Member, Rank
from dria_magpie.network.hub.placement import place
from dria_magpie.network.hub.wanted import Wanted

# Seconds for which tasks that wait are told the same reason: finding it asks every node.
_REASON_HOLDS = 1.0
_DEAD_ENTRIES = 64


class Route:
    """Nodes for tasks that need the same models, in a heap that is put right when it is read.

    A node stands in the heap at its rank or a better one: what became worse is noticed when it
    comes up, what became better must be offered.

    Args:
        wanted: what the tasks need; who lost them does not matter here.
        members: the nodes that are connected.
    """

    def __init__(self, wanted: Wanted, members: Mapping[str, Member]) -> None:
        self._wanted = wanted.evolve(lost_by=())
        self._models: dict[str, str] = {}
        self._ranks: dict[str, Rank] = {}
        self._heap: list[Rank] = []
        self._told: tuple[float, str] | None = None
        for member in members.values():
            self.admit(member)
            self.offer(member.rank)

    def admit(self, member: Member) -> None:
        """Take a node in if it serves the models; leave it out if it no longer does."""
        self.dismiss(member.address)
        fit = self._wanted.fit(member.info)
        if not fit.reason:
            self._models[member.address] = fit.model

    def dismiss(self, address: str) -> None:
        """Leave a node out."""
        self._models.pop(address, None)
        self._ranks.pop(address, None)
        self._told = None

    def offer(self, rank: Rank) -> None:
        """Note that a node may have a better rank than it had."""
        address = rank[2]
        if address not in self._models:
            return
        known = self._ranks.get(address)
        if known is None or rank < known:
            self._ranks[address] = rank
            heapq.heappush(self._heap, rank)
            if len(self._heap) > 2 * len(self._ranks) + _DEAD_ENTRIES:
                self._heap = sorted(self._ranks.values())

    def pop(self) -> Rank | None:
        """Take out what stands first; it is at its node's rank or better."""
        while self._heap:
            rank = heapq.heappop(self._heap)
            if self._ranks.get(rank[2]) == rank:
                del self._ranks[rank[2]]
                return rank
        return None

    def model(self, address: str) -> str:
        """Give the model that a node of the route runs for generations that name none."""
        return self._models[address]

    def serving(self, members: Mapping[str, Member]) -> list[Member]:
        """Give the nodes of the route."""
        return [members[address] for address in self._models]

    def explain(self, members: Mapping[str, Member], now: float) -> str:
        """Say why a task waits, once none of the nodes is free."""
        if self._told is None or not 0 <= now - self._told[0] < _REASON_HOLDS:
            serving = self.serving(members) or members.values()
            self._told = now, place(self._wanted, serving, now).reason
        return self._told[1]
