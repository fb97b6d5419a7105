"""A task that the hub has taken from the queue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from dria_magpie.errors import LimitError, StateError
from dria_magpie.models import Task
from dria_magpie.network.hub.verdict import AGAINST_TASK, Loss
from dria_magpie.network.hub.wanted import Wanted
from dria_magpie.network.order import Order, read_turns
from dria_magpie.network.record import Record
from dria_magpie.network.verification import UNTOUCHED, Assigned
from dria_magpie.workflow import Workflow
from dria_magpie.workflow.replay import replay

LaneKey = tuple[str, str]
# Finding fault with each of so many takes a tenth of a second.
MOST_PARTS = 30_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a task came from, and where its result goes.

    Attributes:
        client: the client's token.
        route: the queue, one for each choice of models.
        run: the client's run.
        id: the task's name in it.
    """

    client: str
    route: str
    run: str
    id: str

    @classmethod
    def of(cls, subject: str) -> Self:
        """Read the subject of a task."""
        _, client, route, run, name = subject.split(".")
        return cls(client, route, run, name)

    @property
    def result(self) -> str:
        """The subject of the result."""
        return f"result.{self.client}.{self.run}.{self.id}"

    @property
    def lane(self) -> LaneKey:
        """The queue in which it stands."""
        return self.client, self.route


@dataclass(frozen=True, slots=True)
class Run:
    """What a node made of a task that is checked.

    Attributes:
        node: its address.
        texts: of its turns.
    """

    node: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """That a job is a spot check.

    Attributes:
        runs: what was made of the task so far, the accepted one first.
    """

    runs: tuple[Run, ...]


@dataclass(slots=True, kw_only=True)
class Job:
    """A task in the hub's hands: it waits for a node, or one works on it.

    Attributes:
        seq: its place in the stream of tasks; below nought for none.
        address: where it came from.
        payload: as it came.
        order: the same, read.
        workflow: its graph.
        wanted: what it needs of a node.
        record: what nodes made of it so far, found right.
        losses: how assignments ended that came to nothing.
        assigned: who works on it; None while it waits.
        lease: until when it is that node's, unless it says that it still works on it.
        since: when that node was given it.
        progress: when it last came forward.
        started: whether the node has said that it works on it.
        excused: the node may never have heard of it, as the broker or the hub died meanwhile.
        nonces: how many assignments there were.
        takes_room: it takes room among those of its queue that are at hand.
        ending: its end is being written down.
        check: it is a spot check, of which nobody but the hub hears; None if it is not.
    """

    seq: int
    address: Address
    payload: bytes
    order: Order
    workflow: Workflow
    wanted: Wanted
    record: Record = UNTOUCHED
    losses: tuple[Loss, ...] = ()
    assigned: Assigned | None = None
    lease: float = 0.0
    since: float = 0.0
    progress: float = 0.0
    started: bool = False
    excused: bool = False
    nonces: int = 0
    takes_room: bool = False
    ending: bool = False
    check: Check | None = None

    @classmethod
    def of(cls, seq: int, subject: str, payload: bytes) -> Self:
        """Read a task.

        Raises:
            StateError: it is none.
            GraphError: its workflow is none.
            LimitError: it would take too long to read.
        """
        order = Order.read(payload)
        if sum(map((order.shape + order.filling).count, "{[,")) > MOST_PARTS:
            raise LimitError(f"the graph has more than {MOST_PARTS:,} parts, or signs {{ [ and ,")
        workflow = order.parse_workflow()
        turns = read_turns(order.given)
        if turns and not any(replay(workflow, turns, seed=order.seed)):
            # A node could do nothing with it, and would seem to have lost it.
            raise StateError("the turns that came with the task are no run of its workflow")
        task = Task(workflow=workflow, models=order.models, id=subject)
        return cls(
            seq=seq,
            address=Address.of(subject),
            payload=payload,
            order=order,
            workflow=workflow,
            wanted=Wanted.of(task, workflow),
        )

    def note(self) -> bytes:
        """Give what is written down of it, so that another hub may go on."""
        losses = [asdict(loss) for loss in self.losses]
        who = self.assigned
        said = who and [who.node, who.nonce, who.model, len(who.before.seals), self.since]
        note = {"task": self.order.digest.hex(), "assigned": said, "losses": losses}
        return json.dumps(note).encode()

    def take_up(self, note: bytes, record: Record) -> None:
        """Go on from what an earlier hub wrote down.

        Args:
            note: what `note` gave.
            record: the last one that was accepted, before or during that assignment.

        Raises:
            StateError: the note is damaged, or of another task that had this place: a broker that
                dies may forget the last ones.
        """
        try:
            said: Mapping[str, Any] = json.loads(note)
            if said["task"] != self.order.digest.hex():
                raise StateError("the note is of another task")
            if said["assigned"]:
                node, nonce, model, seals, self.since = said["assigned"]
                before = _cut(record, seals)
                self.assigned = Assigned(node=node, nonce=nonce, model=model, before=before)
                self.excused = True
            self.lose(*(Loss(**loss) for loss in said["losses"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"the note on a task is damaged: {error!r}") from error
        self.record = record

    @property
    def tried(self) -> Wanted:
        """What it needs, where only nodes that have really tried it count as having lost it."""
        tried = (loss.node for loss in self.losses if loss.kind in AGAINST_TASK)
        return self.wanted.evolve(lost_by=tuple(tried))

    def lose(self, *losses: Loss) -> None:
        """Note that assignments came to nothing.

        Of what says nothing about the task, the last of each kind and node is kept: there may be
        no end of it.
        """
        for loss in losses:
            kept = self.losses
            if loss.kind not in AGAINST_TASK:
                kept = tuple(k for k in kept if (k.kind, k.node) != (loss.kind, loss.node))
            self.losses = (*kept, loss)
        self.wanted = self.wanted.evolve(lost_by=tuple(loss.node for loss in self.losses))


def _cut(record: Record, seals: int) -> Record:
    """Give a record as it was when it had so many seals."""
    kept = record.seals[:seals]
    return Record(turns=record.turns[: kept[-1].turns if kept else 0], seals=kept)
