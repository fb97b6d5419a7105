"""Which node gets a task, and why it waits if none does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dria_magpie.network.hub.member import Member
from dria_magpie.network.hub.wanted import Wanted

__all__ = ["Placement", "Wanted", "count_others", "describe_room", "place"]
# Strangers may serve long lists of models with long names.
_MOST_NAMES = 20
_LONGEST_NAME = 80
_LACKS = "does not serve "


@dataclass(frozen=True, slots=True)
class Placement:
    """The decision about one task.

    Attributes:
        node: the address of the node that gets it; "" if it must wait.
        model: the model for generations that name none; "" if each names its own.
        reason: why this node, or why none, for people.
    """

    node: str = ""
    model: str = ""
    reason: str = ""


def place(wanted: Wanted, members: Iterable[Member], now: float) -> Placement:
    """Choose a node for a task.

    It is the one with most free slots, then with the better score, then with the lower address. A
    node that lost the task gets it again only if no other node that serves it is there, be it busy;
    of several, the one that lost it longest ago.
    """
    members = list(members)
    serving = [member for member in members if not wanted.fit(member.info).reason]
    if not serving:
        return Placement(reason=_describe_unserved(wanted, members, now))
    there = [member for member in serving if not member.absence(now)]
    fresh = [member for member in there if member.address not in wanted.lost_by]
    free = [member for member in fresh or there if member.room]
    if not free:
        return Placement(reason=_describe_wait(wanted, serving, fresh, now))
    best = min(free, key=lambda member: (_last_loss(wanted, member.address), member.rank))
    reason = describe_room(best) if fresh else "all that serve it lost it; this one longest ago"
    return Placement(best.address, wanted.fit(best.info).model, reason)


def describe_room(member: Member) -> str:
    """Say why a node can be given a task."""
    return f"{member.room} of {member.slots} slots are free"


def count_others(wanted: Wanted, members: Iterable[Member], now: float) -> int:
    """Count the nodes that are there, serve a task and have not lost it."""
    there = (m for m in members if m.address not in wanted.lost_by and not m.absence(now))
    return sum(not wanted.fit(member.info).reason for member in there)


def _last_loss(wanted: Wanted, address: str) -> int:
    """Give the position of a node's last loss of a task; -1 if it has not lost it."""
    lost = wanted.lost_by
    return max((i for i, node in enumerate(lost) if node == address), default=-1)


def _describe_wait(
    wanted: Wanted, serving: Sequence[Member], fresh: Sequence[Member], now: float
) -> str:
    """Say why none of the nodes that serve a task can be given it."""
    lost = [m for m in serving if m.address in wanted.lost_by and not m.obstacle(now)]
    if lost and fresh:
        who = _join([f"node {member.address}" for member in lost])
        return f"{who} lost it; others that serve it are busy"
    obstacles = [found for member in serving if (found := member.obstacle(now))]
    if len(obstacles) == 1:
        return f"the only node that serves it is {obstacles[0].reason}"
    kinds = Counter(obstacle.kind for obstacle in obstacles)
    if len(kinds) == 1:
        return f"the {len(obstacles)} nodes that serve it are {obstacles[0].kind}"
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"no node that serves it is free: {said}"


def _describe_unserved(wanted: Wanted, members: Sequence[Member], now: float) -> str:
    """Say what is missing, and what is served instead."""
    here = [member for member in members if not member.absence(now)] or members
    if not here:
        return "no node is connected"
    served = list(dict.fromkeys(name for member in here for name in member.models))
    said = f"served are {_join([repr(name[:_LONGEST_NAME]) for name in served])}"
    missing = sorted({wanted.fit(member.info).reason for member in here})
    lacks = [r.removeprefix(_LACKS) for r in missing if r.startswith(_LACKS)]
    if not lacks:
        return f"it {missing[0]}; {said}"
    if len(missing) == 1:
        return f"nobody serves {lacks[0]}; {said}"
    return f"no node serves all that it needs, some not {', others not '.join(lacks)}; {said}"


def _join(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES]) or "no models"
    return f"{shown} and {more} more" if more > 0 else shown
