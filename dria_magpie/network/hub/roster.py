"""The nodes that are connected, in an order that makes placing a task cheap."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

from dria_magpie.network.hub.member import Member
from dria_magpie.network.hub.placement import Placement, describe_room, place
from dria_magpie.network.hub.route import Route
from dria_magpie.network.hub.wanted import Wanted

# Tasks that need the same models share a route. Few are in use at once; strangers who ask for ever
# new ones only push out those that were not asked for longest.
MOST_ROUTES = 256


class Roster:
    """Places tasks as `place` does, at a cost that hardly grows with the number of nodes.

    What is known of a node is changed by `update` alone. Should `now` go back, a node may be left
    out until its next `update`.

    Example::

        roster.update(member)
        placement = roster.place(wanted, now)
        if placement.node:
            roster.take(placement.node)
    """

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._routes: OrderedDict[object, Route] = OrderedDict()
        # Nodes that were left out because of a pause, and when it ends.
        self._pauses: dict[str, float] = {}
        self._wakes: list[tuple[float, str]] = []

    @property
    def members(self) -> Mapping[str, Member]:
        """The nodes by their addresses."""
        return MappingProxyType(self._members)

    def update(self, member: Member) -> None:
        """Take in what is now known of a node, which may be new."""
        known = self._members.get(member.address)
        self._members[member.address] = member
        if known is None or known.models != member.models:
            for route in self._routes.values():
                route.admit(member)
        self._offer(member)

    def remove(self, address: str) -> None:
        """Forget a node, if it is known."""
        if self._members.pop(address, None):
            for route in self._routes.values():
                route.dismiss(address)

    def take(self, address: str) -> None:
        """Note that a node was given a task.

        Raises:
            KeyError: there is no such node.
        """
        member = self._members[address]
        self._members[address] = member.evolve(running=member.running + 1)

    def give_back(self, address: str) -> None:
        """Note that a task of a node has ended; the node may be gone."""
        member = self._members.get(address)
        if member and member.running:
            self.update(member.evolve(running=member.running - 1))

    def place(self, wanted: Wanted, now: float) -> Placement:
        """Choose a node for a task; the node's slot is taken by `take`."""
        self._wake(now)
        route = self._find_route(wanted)
        tried = []
        best = self._next_free(route, now)
        while best and best.address in wanted.lost_by:
            tried.append(best)
            best = self._next_free(route, now)
        for member in (*tried, best) if best else tried:
            route.offer(member.rank)
        if tried and best is None:
            return place(wanted, route.serving(self._members), now)
        if best is None:
            return Placement(reason=route.explain(self._members, now))
        return Placement(best.address, route.model(best.address), describe_room(best))

    def _offer(self, member: Member) -> None:
        if member.room:
            rank = member.rank
            for route in self._routes.values():
                route.offer(rank)

    def _wake(self, now: float) -> None:
        """Put nodes back whose pauses are over."""
        while self._wakes and self._wakes[0][0] <= now:
            until, address = heapq.heappop(self._wakes)
            if self._pauses.get(address) == until:
                del self._pauses[address]
                if member := self._members.get(address):
                    self._offer(member)

    def _find_route(self, wanted: Wanted) -> Route:
        key = (wanted.models, wanted.named, wanted.open_model)
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = Route(wanted, self._members)
            if len(self._routes) > MOST_ROUTES:
                self._routes.popitem(last=False)
        self._routes.move_to_end(key)
        return route

    def _next_free(self, route: Route, now: float) -> Member | None:
        """Take the best node that is free out of a route's order."""
        while rank := route.pop():
            member = self._members[rank[2]]
            obstacle = member.obstacle(now)
            if obstacle is None:
                if member.rank == rank:
                    return member
                route.offer(member.rank)
            elif obstacle.kind == "paused":
                self._remember_pause(member)
        return None

    def _remember_pause(self, member: Member) -> None:
        until = member.reputation.paused_until
        if self._pauses.get(member.address) != until:
            self._pauses[member.address] = until
            heapq.heappush(self._wakes, (until, member.address))
