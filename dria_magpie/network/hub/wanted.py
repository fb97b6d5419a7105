"""What a task needs of a node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dria_magpie.models import NodeInfo, Task
from dria_magpie.network.fit import Fit, able, split_models
from dria_magpie.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a task needs of a node, and which nodes have failed it.

    Attributes:
        models: any of which will do for generations that name none; empty for a node's default.
        named: models that the workflow names itself; all of them are needed.
        lost_by: addresses of nodes that started the task and lost it, oldest first.
        open_model: whether any generation names no model; if none does, `models` says nothing.
    """

    models: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    lost_by: tuple[str, ...] = ()
    open_model: bool = True

    @classmethod
    def of(cls, task: Task, workflow: Workflow) -> Wanted:
        """Give what a task needs that nobody has lost yet."""
        named, open_model = split_models(workflow)
        return cls(models=tuple(task.models), named=named, open_model=open_model)

    def fit(self, node: NodeInfo) -> Fit:
        """Decide whether a node serves it."""
        return able(node, self.models, self.named, open_model=self.open_model)

    def evolve(self, **changes: Any) -> Wanted:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)
