"""An assignment on which a node works: where it stands, and what is handed in of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dria_magpie.errors import DrainedError, DriaMagpieError, StateError
from dria_magpie.models import Task, Turn
from dria_magpie.network.assignment import Assignment
from dria_magpie.network.order import MOST_BYTES, MOST_UNFINISHED, Order, read_turns, write_turn
from dria_magpie.network.record import Record, RecordKind
from dria_magpie.network.signing import NodeKey
from dria_magpie.workflow import ExecutionState, Workflow
from dria_magpie.workflow.replay import replay

CHECKPOINT_AFTER = 1.0
_LONGEST_ERROR = 2000


@dataclass(slots=True)
class Work:
    """An assignment that is worked on.

    Attributes:
        nonce: of the assignment.
        model: for generations that name none.
        key: signs what is made.
        order: the task.
        before: what earlier nodes made of it.
        record: that, and what was made since.
        seen: seconds of generation at the last checkpoint.
    """

    nonce: str
    model: str
    key: NodeKey
    order: Order
    before: Record
    record: Record
    seen: float = 0.0

    @classmethod
    def of(cls, assignment: Assignment, key: NodeKey) -> Work:
        """Read an assignment.

        Raises:
            StateError: it has no task, or no record.
        """
        order, before = Order.read(assignment.order), Record.read(assignment.record)
        return cls(assignment.nonce, assignment.model, key, order, before, before)

    def begin(self) -> tuple[Task, Workflow, ExecutionState]:
        """Give the task, its graph, and the state from which its run goes on.

        Raises:
            GraphError: the graph is none.
            StateError: the turns that came with it are no run of it.
        """
        workflow = self.order.parse_workflow()
        turns = read_turns((*self.order.given, *self.record.turns))
        state = next(replay(workflow, turns, seed=self.order.seed), None)
        if state is None:
            raise StateError("the turns that came with the task are no run of its workflow")
        self.seen = state.seconds
        return Task(workflow=workflow, models=self.order.models, id=self.nonce), workflow, state

    def add(self, turn: Turn, seconds: float) -> bool:
        """Note a turn that was made; tell whether a checkpoint is due.

        Args:
            turn: what was made.
            seconds: of generation in the run so far.
        """
        self.record = replace(self.record, turns=(*self.record.turns, write_turn(turn)))
        is_due = seconds - self.seen >= CHECKPOINT_AFTER
        if is_due:
            self.seen = seconds
        return is_due

    def seal(self, kind: RecordKind) -> bytes:
        """Give what was made so far, signed, as it travels."""
        return self.record.sealed(self.order, self.key, self.nonce, kind).to_bytes()

    def end(self, error: DriaMagpieError | None) -> tuple[RecordKind, bytes]:
        """Give what is handed in at the end, and how it ended.

        Args:
            error: why the run failed; None if it did not.
        """
        kind: RecordKind = "done"
        if isinstance(error, DrainedError):
            kind = "handed back"
        elif error:
            told = (type(error).__name__, str(error)[:_LONGEST_ERROR])
            self.record = replace(self.record, error=told)
        payload = self.seal(kind)
        if len(payload) > (MOST_BYTES if kind == "done" else MOST_UNFINISHED):
            kind = "done"
            told = ("LimitError", f"the dialogue has grown beyond {MOST_UNFINISHED:,} bytes")
            self.record = replace(self.before, error=told)
            payload = self.seal(kind)
        return kind, payload
