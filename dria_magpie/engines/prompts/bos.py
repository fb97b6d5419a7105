"""The text that begins a prompt: whether a template writes it, and that it stands there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Message

_PROBE = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Oh"))


@lru_cache(maxsize=32)
def written_bos(template: ChatTemplate) -> str:
    """Give the text with which the template begins every prompt; empty if it writes none.

    A token that opens every message, as in SmolLM2, begins a prompt too, but is none.
    """
    bos = template.bos_token
    try:
        text = template.render(_PROBE)
        without = replace(template, bos_token="").render(_PROBE)
    except UnsupportedError:
        return bos if "bos_token" in template.text else ""
    if not bos or not text.startswith(bos):
        return ""
    return bos if text != without or text.count(bos) == 1 else ""


def tidy_bos(text: str, bos: str, history: Sequence[Message], origin: str) -> str:
    """Leave one of several at the beginning, and check that there is none out of place later.

    Raises:
        InvalidInputError: the template writes it where neither a user's message nor every
            message begins.
    """
    if not bos:
        return text
    while text.startswith(bos * 2):
        text = text.removeprefix(bos)
    quoted = sum(message.content.strip().count(bos) for message in history)
    found = text.count(bos) - quoted
    users = sum(message.role == "user" for message in history) + 1
    # Llama-2 begins each exchange with it, and some models each message
    if found not in {1, users, len(history) + 1}:
        raise InvalidInputError(
            f"the chat template ({origin}) writes {bos} {found} times in one prompt; "
            "give the model's own template"
        )
    return text
