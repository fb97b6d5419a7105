"""The workflow: the graph, a run's memory and state, and the interpreter. No I/O."""

from __future__ import annotations

from dria_magpie.workflow.answer import take_answer
from dria_magpie.workflow.graph import Workflow
from dria_magpie.workflow.interpreter import Failed, Finished, Moved, NextCall, Outcome, advance
from dria_magpie.workflow.memory import Memory
from dria_magpie.workflow.replay import conclude, replay
from dria_magpie.workflow.state import ExecutionState

__all__ = [
    "ExecutionState",
    "Failed",
    "Finished",
    "Memory",
    "Moved",
    "NextCall",
    "Outcome",
    "Workflow",
    "advance",
    "conclude",
    "replay",
    "take_answer",
]
