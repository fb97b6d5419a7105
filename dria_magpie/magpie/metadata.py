"""How a row came about."""

from __future__ import annotations

from typing import Any

from dria_magpie.models import TaskResult


def read_metadata(result: TaskResult) -> dict[str, Any]:
    """Give what says how a row came about, one entry a call."""
    turns, error = result.turns, result.error
    return {
        "input_tokens": [turn.prompt_tokens for turn in turns],
        "output_tokens": [turn.completion_tokens for turn in turns],
        "finish_reasons": [turn.finish_reason for turn in turns],
        "seeds": [turn.seed for turn in turns],
        "node": result.node,
        "error": f"{type(error).__name__}: {error}" if error else None,
    }
