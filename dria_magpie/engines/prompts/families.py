"""Which family a model or a chat template is of."""

from __future__ import annotations

import re

from dria_magpie.engines.prompts.family import Family
from dria_magpie.engines.prompts.table import FAMILIES

_MAKERS = re.compile(
    r"(google|qwen|microsoft|mistralai|huggingfacetb|01-ai|deepseek-ai|lmsys|nousresearch)-"
)
# Such models were not taught to converse
_UNTAUGHT = re.compile(r"-(base|text|pt)(-|$)")


def find_family(model_name: str) -> Family | None:
    """Find the family of a model by its name; None if it is unknown or no chat model.

    Example::

        find_family("llama3.1:8b").name                                # "llama-3.1"
        find_family("hf:org/repo/Qwen2.5-7B-Instruct-Q4_K_M.gguf").name  # "qwen-2.5"
    """
    for name in _plain_names(model_name):
        if _UNTAUGHT.search(name):
            return None
        found = next((family for family in FAMILIES if family.is_named(name)), None)
        if found is not None:
            return found
    return None


def find_family_of_template(template: str) -> Family | None:
    """Find the family of a chat template by its text; None if it is unknown."""
    return next((family for family in FAMILIES if family.is_marked(template)), None)


def _plain_names(model_name: str) -> list[str]:
    """Give a name without maker and file ending; of a hub's file also the repository's."""
    parts = model_name.lower().replace("\\", "/").rstrip("/").split("/")
    taken = parts[-2:] if model_name.startswith("hf:") and len(parts) > 2 else parts[-1:]
    plain = [part.removesuffix(".gguf") for part in reversed(taken)]
    return [_MAKERS.sub("", re.sub(r"[\s_:]+", "-", part), count=1) for part in plain]
