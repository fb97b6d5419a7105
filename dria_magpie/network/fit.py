"""Whether a node can run a task, and why not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dria_magpie.errors import NoNodeError
from dria_magpie.models import ANY_MODEL, NodeInfo, Task
from dria_magpie.workflow import Workflow
from dria_magpie.workflow.parts import Operator

HOW_TO_SERVE = (
    "Serve the model with --endpoint URL, DRIA_ENDPOINT=URL or Dria(nodes=[Node(engine=...)]); "
    "`dria-magpie models` lists what can run in this process."
)


@dataclass(frozen=True, slots=True)
class Fit:
    """The decision about one task on one node.

    Attributes:
        model: the model for generations that name none; "" if each names its own.
        reason: why the node cannot run the task; "" if it can.
    """

    model: str = ""
    reason: str = ""


def decide_fit(node: NodeInfo, task: Task, workflow: Workflow) -> Fit:
    """Decide whether a node serves every model that a task needs."""
    named, open_model = split_models(workflow)
    return able(node, task.models, named, open_model=open_model)


def split_models(workflow: Workflow) -> tuple[frozenset[str], bool]:
    """Give the models that generations name, and whether any generation leaves it open."""
    models = {t.model or None for t in workflow.tasks if t.operator is Operator.GENERATION}
    return frozenset(name for name in models if name), None in models


def able(
    node: NodeInfo, models: Sequence[str], named: Collection[str], *, open_model: bool = True
) -> Fit:
    """Decide whether a node serves the models that are needed.

    Args:
        node: the node.
        models: any of which will do for generations that name none; empty for the node's default.
        named: those that the workflow names itself; all are needed.
        open_model: whether any generation names no model.
    """
    for name in sorted(named):
        if node.choose_model([name]) != name:
            return Fit(reason=f"does not serve {name!r}, which the workflow names")
    if not open_model:
        return Fit()
    model = node.choose_model(models)
    if model is not None:
        return Fit(model=model)
    if not models:
        return Fit(reason="needs a name: say --model NAME, or Task(models=[NAME])")
    return Fit(reason=f"does not serve {' or '.join(map(repr, models))}")


def refusal(task: Task, reasons: Mapping[str, str]) -> NoNodeError:
    """Give the error for a task that no node can run, with each node's reason."""
    lines = [f"{where} {reason}" for where, reason in reasons.items()]
    unserved = task.models or any("does not serve" in reason for reason in reasons.values())
    advice = [HOW_TO_SERVE] if unserved else []
    return NoNodeError("\n  ".join(["no node can run this task:", *lines, *advice]))


def describe(node: NodeInfo, where: str) -> str:
    """Say for people what a node serves."""
    served = "any model" if node.models == (ANY_MODEL,) else ", ".join(node.models) or "no model"
    return f"{node.address} ({where}) serves {served}:"
