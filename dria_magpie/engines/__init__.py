"""Text generation: an OpenAI-compatible endpoint, or a model in a process of one's own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dria_magpie.engines.chat.retry import RetryPolicy
    from dria_magpie.engines.llama import LlamaEngine
    from dria_magpie.engines.openai import OpenAIEngine

__all__ = ["LlamaEngine", "OpenAIEngine", "RetryPolicy"]

# HTTP takes 0.2 s to import, and not every program that names an engine makes one
_HOMES = {
    "LlamaEngine": "dria_magpie.engines.llama",
    "OpenAIEngine": "dria_magpie.engines.openai",
    "RetryPolicy": "dria_magpie.engines.chat.retry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
