"""What a run tells while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.models import TaskResult, Turn
from dria_magpie.workflow import ExecutionState


@dataclass(frozen=True, slots=True)
class TurnDone:
    """A turn was finished.

    Attributes:
        task_id: the id of the task whose run it is.
        state: where the run stands now; any network carries it on with ``run(task, state)``.
        turn: the turn that was finished: its text, model, tokens and more.
    """

    task_id: str
    state: ExecutionState

    @property
    def turn(self) -> Turn:
        """The turn that was finished."""
        return self.state.turns[-1]


Event = TurnDone | TaskResult
