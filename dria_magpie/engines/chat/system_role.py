"""Prompts for chat templates that know no role ``system`` or demand that roles alternate.

Gemma-2 and the first Mistral models raise in their templates; endpoints hand the words on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dria_magpie.models import Message, Role

_REFUSALS = re.compile(
    r"system role (?:is )?not supported"
    r"|does(?: not|n't) support (?:the )?system (?:role|message)"
    r"|conversation roles must alternate"
    r"|only user and assistant roles are supported"
    r"|only user, assistant and tool roles are supported",
    re.IGNORECASE,
)


def refuses_roles(text: str) -> bool:
    """Tell whether an error's text is a chat template's refusal of the order of roles."""
    return _REFUSALS.search(text) is not None


def fold(messages: Sequence[Message]) -> tuple[Message, ...]:
    r"""Give the same prompt with nothing but user and assistant messages that alternate.

    The system message goes to the head of the user's first message. Where the assistant speaks
    first, or nobody else does, it is the user's first message itself, because these templates
    take no conversation that the assistant begins.

    Example::

        fold([Message("system", "Be brief."), Message("user", "Hi")])
        # (Message("user", "Be brief.\n\nHi"),)
    """
    folded: list[Message] = []
    for message in messages:
        role: Role = "user" if message.role == "system" else message.role
        if folded and folded[-1].role == role:
            folded[-1] = Message(role, f"{folded[-1].content}\n\n{message.content}")
        else:
            folded.append(Message(role, message.content))
    return tuple(folded)


def alternates(messages: Sequence[Message]) -> bool:
    """Tell whether user and assistant take turns, the user first, system messages aside."""
    spoken = [message.role for message in messages if message.role != "system"]
    return all((role == "user") == (i % 2 == 0) for i, role in enumerate(spoken))
