"""The hub's word to nodes: take this, it is settled, it is not yours any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from dria_magpie.network.assignment import Assignment, Beat
from dria_magpie.network.broker import Broker
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.job import Job, LaneKey
from dria_magpie.network.hub.ledger import Ledger
from dria_magpie.network.hub.placement import Placement
from dria_magpie.network.hub.registry import Registry

_MOST_CALLED_BACK = 64


class Dispatcher:
    """Sends tasks to nodes, and calls them back.

    Args:
        board: the tasks in hand.
        ledger: where it is written down who works on what.
        registry: the nodes.
        broker: the way to the nodes.
        on_room: called with a queue's key when a task of it has left for a node.
    """

    def __init__(
        self,
        board: Board,
        ledger: Ledger,
        registry: Registry,
        broker: Broker,
        on_room: Callable[[LaneKey], None],
    ) -> None:
        self._board = board
        self._ledger = ledger
        self._registry = registry
        self._broker = broker
        self._on_room = on_room
        self._settled: dict[str, list[str]] = {}

    async def add(self, job: Job) -> None:
        """Take a task in hand, and give it to a node if one is free."""
        self._board.add(job)
        await self.serve()

    async def serve(self) -> None:
        """Give waiting tasks to free nodes, and say what is settled."""
        leaving = self._board.assign_waiting()
        for job in leaving:
            self._give_room(job)
        for job in leaving:
            await self._send(job)
        while self._settled:
            address = next(iter(self._settled))
            await self._say(address, Assignment(settled=self._pop_settled(address)))

    def _pop_settled(self, address: str) -> tuple[str, ...]:
        return tuple(self._settled.pop(address, ()))

    async def _say(self, address: str, word: Assignment) -> None:
        await self._broker.publish(f"work.{address}", word.to_bytes())

    def _give_room(self, job: Job) -> None:
        if job.takes_room:
            job.takes_room = False
            self._on_room(job.address.lane)

    async def give(self, job: Job, placement: Placement) -> None:
        """Give a task to a certain node."""
        await self._send(self._board.assign(job, placement, time.time()))

    async def _send(self, job: Job) -> None:
        who = job.assigned
        if who is None:
            return
        assignment = Assignment(
            nonce=who.nonce,
            model=who.model,
            order=job.payload,
            record=who.before.to_bytes(),
            settled=self._pop_settled(who.node),
        )
        # In this order: a task that somebody works on is noted.
        if not job.check:
            await self._ledger.note(job)
        await self._say(who.node, assignment)

    async def beat(self, address: str, beat: Beat) -> None:
        """Hear that a node is there, and what it works on."""
        now = time.time()
        foreign = []
        for nonce in beat.running:
            job = self._board.working(nonce)
            if job and job.assigned and job.assigned.node == address:
                job.lease, job.started, job.excused = now + self._board.lease, True, False
            else:
                foreign.append(nonce)
        for nonce in foreign[:_MOST_CALLED_BACK]:  # the rest is in the next one, too
            await self.call_back(address, nonce)
        self._registry.beat(address, beat, now, self._board.load(address))
        await self.serve()

    async def note_all(self) -> None:
        """Write down again who works on what, as notes are forgotten after some time."""
        for job in self._board.jobs():
            if job.nonces and not job.ending:
                await self._ledger.note(job)

    async def cancel(self, result: str) -> bool:
        """Drop a task by the subject of its result; tell whether it was in hand."""
        job = self._board.find(result)
        if job is None or job.ending:
            return False
        await self._drop(job)
        await self.serve()
        return True

    async def cancel_run(self, client: str, run: str) -> None:
        """Drop all tasks of a client's run."""
        for job in self._board.jobs():
            if (job.address.client, job.address.run) == (client, run) and not job.ending:
                await self._drop(job)
        await self.serve()

    async def _drop(self, job: Job) -> None:
        who = job.assigned
        self._board.let_go(job)
        self._board.take_out(job)
        if who:
            await self.call_back(who.node, who.nonce)
        self._give_room(job)
        await self._ledger.drop(job)

    async def call_back(self, address: str, nonce: str) -> None:
        """Tell a node that a task is not its own any more."""
        await self._say(address, Assignment(taken_back=(nonce,)))

    def settle(self, address: str, nonce: str) -> None:
        """Have `serve` tell a node that what it handed in was read, so that it need not keep it."""
        self._settled.setdefault(address, []).append(nonce)
