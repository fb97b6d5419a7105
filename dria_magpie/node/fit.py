"""Whether a node can run a task, and why not."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.models import ANY_MODEL, NodeInfo, Task
from dria_magpie.workflow import Workflow
from dria_magpie.workflow.parts import Operator


@dataclass(frozen=True, slots=True)
class Fit:
    """The decision about one task on one node.

    Attributes:
        model: the model for generations that name none; "" if each names its own.
        reason: why the node cannot run the task; "" if it can.
    """

    model: str = ""
    reason: str = ""


def fit(node: NodeInfo, task: Task, workflow: Workflow) -> Fit:
    """Decide whether a node serves every model that a task needs."""
    models = {t.model or None for t in workflow.tasks if t.operator is Operator.GENERATION}
    for name in sorted(model for model in models if model):
        if node.choose_model([name]) is None:
            return Fit(reason=f"it does not serve {name!r}, which the workflow names")
    if None not in models:
        return Fit()
    model = node.choose_model(task.models)
    if model is not None:
        return Fit(model=model)
    if not task.models:
        return Fit(reason="it serves any model, and the task names none")
    return Fit(reason=f"it does not serve {' or '.join(map(repr, task.models))}")


def describe(node: NodeInfo) -> str:
    """Say for people what a node serves."""
    served = "any model" if node.models == (ANY_MODEL,) else ", ".join(node.models) or "no model"
    return f"{node.address} serves {served}"
