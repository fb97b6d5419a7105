"""A factory for synthetic dialogues: personas in, clean and traceable data out.

Every public name is here; each is loaded when it is first used.

Example::

    from dria_magpie import Dria, MagPie, Task

    magpie = MagPie()
    graph = magpie.workflow("A curious scientist", "An AI assistant", num_turns=3)
    async with Dria() as dria:
        print(magpie.parse_result(await dria.execute(Task(workflow=graph))))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.engines import LlamaEngine, OpenAIEngine, RetryPolicy
    from dria_magpie.errors import (
        ContextLengthError,
        DrainedError,
        DriaMagpieError,
        EmptyCompletionError,
        EndpointError,
        EngineError,
        GraphError,
        InstructionError,
        InvalidInputError,
        LimitError,
        ModelFileError,
        NetworkError,
        NoNodeError,
        ParseError,
        StateError,
        StepError,
        StoreError,
        TaskTimeoutError,
        UnsupportedError,
        WorkflowError,
    )
    from dria_magpie.factory import MagPie, SelfSynthesis
    from dria_magpie.magpie import Magpie, MagpieGenerator
    from dria_magpie.models import (
        Engine,
        Generation,
        GenerationRequest,
        Message,
        Model,
        NodeInfo,
        Sampling,
        Task,
        TaskResult,
        Turn,
    )
    from dria_magpie.network import LocalNetwork, Network
    from dria_magpie.node import Node, TurnDone
    from dria_magpie.sweep import Recipe, Row, RunDir, Status, Sweep
    from dria_magpie.workflow import (
        ExecutionState,
        Failed,
        Finished,
        Moved,
        NextCall,
        Workflow,
        advance,
    )

__version__ = "0.1.0"
__all__ = [
    "ContextLengthError",
    "DrainedError",
    "Dria",
    "DriaMagpieError",
    "EmptyCompletionError",
    "EndpointError",
    "Engine",
    "EngineError",
    "ExecutionState",
    "Failed",
    "Finished",
    "Generation",
    "GenerationRequest",
    "GraphError",
    "InstructionError",
    "InvalidInputError",
    "LimitError",
    "LlamaEngine",
    "LocalNetwork",
    "MagPie",
    "Magpie",
    "MagpieGenerator",
    "Message",
    "Model",
    "ModelFileError",
    "Moved",
    "Network",
    "NetworkError",
    "NextCall",
    "NoNodeError",
    "Node",
    "NodeInfo",
    "OpenAIEngine",
    "ParseError",
    "Recipe",
    "RetryPolicy",
    "Row",
    "RunDir",
    "Sampling",
    "SelfSynthesis",
    "StateError",
    "Status",
    "StepError",
    "StoreError",
    "Sweep",
    "Task",
    "TaskResult",
    "TaskTimeoutError",
    "Turn",
    "TurnDone",
    "UnsupportedError",
    "Workflow",
    "WorkflowError",
    "__version__",
    "advance",
]

_HOMES = {
    "client": "Dria",
    "engines": "LlamaEngine OpenAIEngine RetryPolicy",
    "errors": "ContextLengthError DrainedError DriaMagpieError EmptyCompletionError EndpointError "
    "EngineError GraphError InstructionError InvalidInputError LimitError ModelFileError "
    "NetworkError NoNodeError ParseError StateError StepError StoreError TaskTimeoutError "
    "UnsupportedError WorkflowError",
    "factory": "MagPie SelfSynthesis",
    "magpie": "Magpie MagpieGenerator",
    "models": "Engine Generation GenerationRequest Message Model NodeInfo Sampling Task "
    "TaskResult Turn",
    "network": "LocalNetwork Network",
    "node": "Node TurnDone",
    "sweep": "Recipe Row RunDir Status Sweep",
    "workflow": "ExecutionState Failed Finished Moved NextCall Workflow advance",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
