"""The nodes: what they say of themselves, and what they have earned."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dria_magpie.network.assignment import BEAT, Beat
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.member import ALIVE_FOR, Member
from dria_magpie.network.hub.reputation import Outcome, Reputation
from dria_magpie.network.hub.roster import Roster

logger = logging.getLogger(__name__)
FORGET_AFTER = 3600.0
_SLACK = 0.5
_ONCE, _PROVEN = 3.0, 20


class Registry:
    """Keeps the roster up to date.

    Args:
        ledger: where reputations are kept.
        bar: takes a node's access away, by its address.
        names: gives the names that the network's owner gave to nodes, by address.

    Attributes:
        expecting: until when nodes may still come forward that nothing was heard of, as the hub
            is new, or the broker was away.
    """

    def __init__(
        self, ledger: Ledger, bar: Callable[[str], None], names: Callable[[], dict[str, str]]
    ) -> None:
        self.roster = Roster()
        self._ledger = ledger
        self._bar = bar
        self._names = names
        self._earned: dict[str, Reputation] = {}
        self._changed: set[str] = set()
        self._silent: dict[str, float] = {}
        self.expecting = 0.0

    async def load(self) -> None:
        """Read what nodes earned before."""
        async for address, reputation in self._ledger.reputations():
            self._earned[address] = reputation
        self.expect(time.time())

    def expect(self, now: float) -> None:
        """Note that nodes may be there of which nothing was heard lately, if there were any."""
        if self._earned:
            self.expecting = now + BEAT + _SLACK

    def beat(self, address: str, beat: Beat, now: float, running: int) -> None:
        """Take in what a node says of itself; how much it runs is what the hub gave to it."""
        known = self.roster.members.get(address)
        if known is None:
            logger.info("a node has come", extra={"action": "node_came", "node": address})
        self.roster.update(
            Member(
                address=address,
                name=known.name if known else self._names().get(address, ""),
                models=beat.models,
                slots=beat.slots,
                running=running,
                draining=beat.draining,
                last_seen=now,
                reputation=self._earned.get(address, Reputation()),
                build=beat.build,
                hardware=beat.hardware,
            )
        )

    def earn(self, address: str, outcome: Outcome, now: float) -> None:
        """Add to a node's record; one that is barred loses its access.

        A node that has proven itself and dies is silent once, however many tasks it had.
        """
        before = self._earned.get(address, Reputation())
        if outcome == "timed out" and before.completed >= _PROVEN:
            if now - self._silent.get(address, -_ONCE) < _ONCE:
                return
            self._silent[address] = now
        after = before.after(outcome, now)
        self._earned[address] = after
        self._changed.add(address)
        member = self.roster.members.get(address)
        if member:
            self.roster.update(member.evolve(reputation=after))
        if outcome != "completed":
            context = {"action": "node_marked", "node": address, "outcome": outcome}
            logger.warning("a node is marked: %s", outcome, extra=context)
        if after.barred and not before.barred:
            logger.error("a node is barred", extra={"action": "node_barred", "node": address})
            self._bar(address)

    async def write(self, now: float) -> None:
        """Write down what has changed, and forget nodes that are gone for long."""
        changed, self._changed = self._changed, set()
        for address in changed:
            await self._ledger.keep_reputation(address, self._earned[address])
        for member in list(self.roster.members.values()):
            if now - member.last_seen > FORGET_AFTER and not member.running:
                self.roster.remove(member.address)

    def is_complete(self, now: float) -> bool:
        """Tell whether every node has come forward that may be there, as far as can be known."""
        return now >= self.expecting or self._earned.keys() <= self.roster.members.keys()

    def is_draining(self, address: str) -> bool:
        """Tell whether a node has said that it takes no more."""
        member = self.roster.members.get(address)
        return member is not None and member.draining

    def is_barred(self, address: str) -> bool:
        """Tell whether a node has lied too often."""
        earned = self._earned.get(address)
        return earned is not None and earned.barred

    def there(self, now: float) -> list[Member]:
        """Give the nodes that were heard of lately."""
        members = self.roster.members.values()
        return [member for member in members if now - member.last_seen <= ALIVE_FOR]
