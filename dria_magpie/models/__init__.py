"""Plain values that every floor above shares: tasks, results, requests, names of models."""

from __future__ import annotations

from dria_magpie.models.generation import (
    ANY_MODEL,
    Engine,
    Generation,
    GenerationRequest,
    Message,
    Role,
    Sampling,
)
from dria_magpie.models.names import Model
from dria_magpie.models.node import NodeInfo
from dria_magpie.models.task import Task, TaskResult
from dria_magpie.models.turn import Turn

__all__ = [
    "ANY_MODEL",
    "Engine",
    "Generation",
    "GenerationRequest",
    "Message",
    "Model",
    "NodeInfo",
    "Role",
    "Sampling",
    "Task",
    "TaskResult",
    "Turn",
]
