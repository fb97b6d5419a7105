"""The seam between the client and wherever dialogues run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from dria_magpie.models import NodeInfo, Task
from dria_magpie.node.events import Event
from dria_magpie.workflow import ExecutionState


class Network(Protocol):
    """Nodes that run tasks.

    `start` and `drain` may be called when there is nothing to do, and `start` again after `aclose`.
    """

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The nodes that are there now."""

    def check(self, task: Task) -> None:
        """Refuse a task at once where it is known, even before `start`, that no node can run it.

        Raises:
            NoNodeError: nobody serves its models.
            GraphError: its workflow is none.
        """

    async def start(self) -> None:
        """Make ready; raise `DriaMagpieError` with the reason if that fails."""

    def run(self, task: Task, state: ExecutionState | None = None) -> AsyncGenerator[Event, None]:
        """Run a task from its start or from a state.

        Yields:
            `TurnDone` after each generation, and at the end one `TaskResult`, which has `error`
            set if the task failed for good. Closing the generator cancels the run.
        """

    def forget(self, task: Task, state: ExecutionState | None = None) -> None:
        """Note that a task's result was taken, and that nobody will ask for it again.

        Args:
            task: as it was given to `run`.
            state: likewise.
        """

    def drain(self) -> None:
        """Begin no further call, and keep what is under way.

        `aclose`, and `start` after it, take it back.

        A run that waits for its turn ends at once in a `TaskResult` with a `DrainedError`. One
        that waits for an answer goes on: it yields the `TurnDone`, and ends so at its next call.
        """

    async def aclose(self) -> None:
        """Stop every run and give everything back."""
