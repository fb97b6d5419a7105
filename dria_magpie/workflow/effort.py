"""How much work a replay may be: counted, not timed, so that all machines give up alike."""

from __future__ import annotations

from itertools import chain

from dria_magpie.workflow.graph import Workflow
from dria_magpie.workflow.parts import Expression, TaskSize, WorkflowTask
from dria_magpie.workflow.render import render
from dria_magpie.workflow.similarity import CHUNK
from dria_magpie.workflow.state import ExecutionState

MOST_MOVES = 10_000
# A move counts once more for as many characters as take some 0.1 ms to copy. What else takes time
# is told in characters: an entry as a message, in a text, in a copy; likeness; reading JSON.
_MORE = 100_000
_ENTRY_SENT = 700
_ENTRY_READ = 150
_ENTRY_COPIED = 8
_LIKENESS = 200
_PARSED = 150


class Effort:
    """What is left of the moves of one replay.

    Args:
        state: where it begins.
    """

    def __init__(self, state: ExecutionState) -> None:
        memory = state.memory
        entries = [*memory.cache.values(), *chain.from_iterable(memory.stacks.values())]
        self._left = MOST_MOVES
        self._entries = len(entries)
        # What is written from here on is counted by the memory itself.
        self._given = sum([len(render(entry)) for entry in entries]) - memory.written

    def held(self, state: ExecutionState) -> int:
        """Give a bound of the characters in a state's memory, each entry rendered."""
        return self._given + state.memory.written

    @property
    def entries(self) -> int:
        """A bound of the entries in memory."""
        return self._entries

    def spend(self, workflow: Workflow, state: ExecutionState, answer: str = "") -> bool:
        """Count the move that comes next; tell whether it may still be made.

        Args:
            workflow: the graph.
            state: where the run stands.
            answer: what the move may take as an answer.
        """
        memory = state.memory
        work = self.held(state)
        if state.step is not None and state.step < len(workflow.steps):
            step = workflow.steps[state.step]
            task = workflow.task(step.source)
            if task:
                size = workflow.size(task.id)
                # Each placeholder may be filled with all that there is.
                work += self._weigh(task, size, state, answer) + size.likely * work
            condition = step.condition
            if memory.files and condition and condition.expression == Expression.HAVE_SIMILAR:
                work += len(memory.files) * (CHUNK + len(condition.expected)) * _LIKENESS
        self._left -= 1 + work // _MORE
        return self._left >= 0

    def _weigh(self, task: WorkflowTask, size: TaskSize, state: ExecutionState, answer: str) -> int:
        keys = len(state.memory.cache) + len(state.memory.stacks)
        self._entries += size.outputs
        read = self._entries * (size.inputs * _ENTRY_READ + size.histories * _ENTRY_SENT)
        copied = size.outputs * (self._entries + keys) * _ENTRY_COPIED
        parsed = 0 if task.output_schema is None else len(answer) * _PARSED
        return size.characters * (1 + size.inputs) + read + copied + parsed
