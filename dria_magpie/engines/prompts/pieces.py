"""Builds prompts from a family's pieces, where there is no chat template."""

from __future__ import annotations

from collections.abc import Sequence

from dria_magpie.engines.chat.system_role import alternates
from dria_magpie.engines.prompts.family import Family
from dria_magpie.errors import UnsupportedError
from dria_magpie.models import Message

NO_SYSTEM = (
    "leave the system prompt out, or put its words into the first user message if there is one, "
    "or take a model that knows system prompts"
)


def join(history: Sequence[Message], family: Family) -> str:
    """Write a history down and open the user's message that follows it.

    Raises:
        UnsupportedError: the family takes no system prompt, or user and assistant do not take
            turns: what a template makes of that is not known.
    """
    given, spoken = _split_system(history, family)
    if not alternates([*spoken, Message("user", "")]):
        raise UnsupportedError(
            f"prompts of the family {family.name} are known for conversations only in which user "
            "and assistant take turns, the user first; give the model's own chat template"
        )
    own, first, last = _place_system(given, family)
    parts = [family.bos, own]
    for number, message in enumerate(spoken):
        before, after = family.user if message.role == "user" else family.assistant
        content = _trim(message, family)
        parts += [before, first if number == 0 else "", content, after]
    return "".join([*parts, family.user[0], last if spoken else first or last])


def _split_system(
    history: Sequence[Message], family: Family
) -> tuple[str | None, Sequence[Message]]:
    if not history or history[0].role != "system":
        spoken, given = history, None
    else:
        spoken, given = history[1:], _trim(history[0], family)
    if any(message.role == "system" for message in spoken):
        raise UnsupportedError(
            f"prompts of the family {family.name} are known with one system prompt at the "
            "beginning only; give the model's own chat template"
        )
    if given is not None and family.system is None:
        raise UnsupportedError(f"the family {family.name} knows no system prompt; {NO_SYSTEM}")
    return given, spoken


def _place_system(given: str | None, family: Family) -> tuple[str, str, str]:
    """Give what stands on its own, in the first and in the last user message."""
    words = family.default_system if given is None else given
    if words is None or family.system is None:
        return "", "", ""
    written = words.join(family.system)
    if family.place == "own message":
        return written, "", ""
    return ("", written, "") if family.place == "first user message" else ("", "", written)


def _trim(message: Message, family: Family) -> str:
    return message.content.strip() if message.role in family.trims else message.content
