"""What is to be known of a task of the ``dria`` SDK before the SDK gets it."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from dria_magpie.errors import InvalidInputError

# The SDK sends no more than 256 KiB of base64, which has four characters for three bytes.
_MOST_BYTES = 256 * 1024 // 4 * 3
# What the SDK adds to a workflow, by its length; a gateway's nodes have their address as peer id.
_ADDED = {
    "taskId": 32, "deadline": 32, "publicKey": 128, "datasetId": 64, "privateKey": 66
}  # fmt: skip
_NODE = 40

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
    _check_size(task)


def _check_size(task: Any) -> None:
    size = _measure(task)
    if size > _MOST_BYTES:
        raise InvalidInputError(
            f"a task of {size:,} bytes is too long: the SDK sends no more than {_MOST_BYTES:,} of "
            "JSON, so give it shorter prompts, or less in external_memory"
        )


def _measure(task: Any) -> int:
    """Give the bytes of the task as the SDK writes it; a schema, which it rewrites, counts little.

    Raises:
        InvalidInputError: it cannot be written as JSON.
    """
    is_dict = isinstance(task.workflow, dict)
    workflow = task.workflow if is_dict else task.workflow.model_dump(warnings=False)
    message = {name: " " * length for name, length in _ADDED.items()} | {
        "input": {"workflow": workflow, "model": [max(expand(task.models), key=len)]},
        "pickedNodes": [" " * _NODE],
        "nodePeerIds": [" " * _NODE],
    }
    try:
        text = json.dumps(message, ensure_ascii=False, default=None if is_dict else str)
        return len(text.encode())
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"a task's workflow must be JSON: {error}") from error


def expand(models: list[Any]) -> set[str]:
    """Give the names that the SDK looks for nodes with: a group stands for its members."""
    enums = import_module("dria.models.enums")
    names: set[str] = set()
    for model in models:
        name = str(getattr(model, "value", model))
        group = _GROUPS.get(name)
        names |= {member.value for member in getattr(enums, group)} if group else {name}
    return names
