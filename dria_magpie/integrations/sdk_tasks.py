"""What is to be known of a task of the ``dria`` SDK before the SDK gets it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dria_magpie.errors import InvalidInputError

_GROUPS = {
    "openai": "OpenAIModels",
    "ollama": "OllamaModels",
    "coder": "CoderModels",
    "gemini": "GeminiModels",
    "openrouter": "OpenRouterModels",
    "small": "SmallModels",
    "mid": "MidModels",
    "large": "LargeModels",
    "reasoning": "ReasoningModels",
}


def check_task(task: Any) -> None:
    """Check what is certain to end in an error that says nothing, or in a lost result.

    Raises:
        InvalidInputError: the task lacks something; the text says what.
    """
    if task.dataset_id is None:
        raise InvalidInputError(
            'the SDK sends no task without a dataset_id: Task(…, dataset_id="any name")'
        )
    if not task.models:
        raise InvalidInputError("a task needs models, one or more: Task(…, models=[…])")
    if isinstance(task.workflow, dict):
        if "external_memory" not in task.workflow:
            raise InvalidInputError(
                "the SDK loses the result of a workflow without external_memory: give it one, if "
                'only "external_memory": {}'
            )
    elif not isinstance(task.workflow, import_module("dria_workflows").Workflow):
        kind = f"{type(task.workflow).__module__}.{type(task.workflow).__qualname__}"
        raise InvalidInputError(
            f"the SDK takes a workflow of dria_workflows, or a dict, not a {kind}: "
            "Task(workflow=workflow.model_dump(), …)"
        )


def expand(models: list[Any]) -> set[str]:
    """Give the names that the SDK looks for nodes with: a group stands for its members."""
    enums = import_module("dria.models.enums")
    names: set[str] = set()
    for model in models:
        name = str(getattr(model, "value", model))
        group = _GROUPS.get(name)
        names |= {member.value for member in getattr(enums, group)} if group else {name}
    return names
