"""What the hub knows of a node that is connected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from dria_magpie.models import NodeInfo
from dria_magpie.network.hub.reputation import Reputation
from dria_magpie.network.hub.wanted import Wanted

# Nodes tell of themselves every few seconds; three messages in a row seldom get lost.
ALIVE_FOR = 10.0
# Nodes say themselves how much they run at once; who says too much would be given everything.
FIRST_SLOTS, SLOTS_PER_GOOD = 128, 2
# What nodes with room are ordered by, the best first: free slots, score, address.
Rank: TypeAlias = tuple[int, float, str]


_NEW = Reputation()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a node gets no task now.

    Attributes:
        kind: what it is.
        reason: the same for people, without the node's name, such as ``paused for 25 s: …``.
    """

    kind: Literal["not seen", "barred", "draining", "paused", "busy"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node that is connected.

    Attributes:
        address: what it proved to be.
        name: what its owner calls it.
        models: names of the served models, the default first; ``"*"`` stands for any.
        slots: tasks that it runs at once.
        running: tasks that the hub has given to it and that have not ended.
        draining: whether it takes no new ones.
        last_seen: when it last said anything, in seconds.
        reputation: its record.
        build: what program and engine it says to run; such nodes can check each other.
        hardware: what it says to run on.
    """

    address: str
    name: str
    models: tuple[str, ...]
    slots: int
    running: int = 0
    draining: bool = False
    last_seen: float
    reputation: Reputation = _NEW
    build: str = ""
    hardware: str = ""

    @property
    def info(self) -> NodeInfo:
        """The node as networks show it."""
        return NodeInfo(
            address=self.address, models=self.models, slots=self.slots, running=self.running
        )

    @property
    def room(self) -> int:
        """Slots that are left, were it not for draining, silence, pauses and bars."""
        proven = FIRST_SLOTS + SLOTS_PER_GOOD * self.reputation.completed
        most = min(self.slots, 1 if self.reputation.on_trial else proven)
        return max(0, most - self.running)

    @property
    def rank(self) -> Rank:
        """Where the node stands among others that serve a task; a lower one is better."""
        return -self.room, -self.reputation.score, self.address

    def free(self, now: float) -> int:
        """Give the number of tasks that the node can be given now."""
        return 0 if self.obstacle(now) else self.room

    def absence(self, now: float) -> Obstacle | None:
        """Tell why the node gets no task however many slots it has; None if it gets some."""
        silent = now - self.last_seen
        if silent > ALIVE_FOR:
            return Obstacle("not seen", f"not seen for {silent:.0f} s")
        standing = self.reputation.standing(now)
        if standing.kind == "barred":
            return Obstacle("barred", f"barred: {standing.reason}")
        if self.draining:
            return Obstacle("draining", "draining")
        if standing.kind == "paused":
            left = self.reputation.paused_until - now
            return Obstacle("paused", f"paused for {max(1, round(left))} s: {standing.reason}")
        return None

    def obstacle(self, now: float) -> Obstacle | None:
        """Tell why the node gets no task now; None if it can be given one."""
        absence = self.absence(now)
        if absence is not None or self.room:
            return absence
        one = self.reputation.on_trial and self.running < self.slots
        why = f": {self.reputation.standing(now).reason}" if one else ""
        return Obstacle("busy", f"busy{why}")

    def idle_reason(self, now: float, waiting: Iterable[Wanted]) -> str:
        """Tell people why the node is not given a task; "" if one of those that wait is for it.

        Args:
            now: the time in seconds.
            waiting: what the tasks need that wait for a node.
        """
        obstacle = self.obstacle(now)
        if obstacle:
            return obstacle.reason
        fitting = [wanted for wanted in waiting if not wanted.fit(self.info).reason]
        if not fitting:
            return "no task waits for its models"
        if all(self.address in wanted.lost_by for wanted in fitting):
            return "it lost each task that waits for its models"
        return ""

    def evolve(self, **changes: Any) -> Member:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)
