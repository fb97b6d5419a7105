"""Compares a prompt that a template gave with what is known of a family."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.engines.prompts.family import Family
from dria_magpie.engines.prompts.pre_query import RawPrompt


@dataclass(frozen=True, slots=True)
class FamilyCheck:
    """Whether a prompt is as its family's are.

    Attributes:
        agrees: True if nothing differs.
        reason: what differs, or what was compared.
    """

    agrees: bool
    reason: str


def check_against_family(raw: RawPrompt, family: Family) -> FamilyCheck:
    """Compare the beginning, the opening of the user's message and its end with the family's.

    The prompt is compared as it was rendered, before `without_bos`.

    Example::

        check_against_family(raw, find_family("qwen2.5:7b")).reason
    """
    opening, closing = family.user
    # A system prompt may stand between the opening and the user's words
    opened = raw.text.endswith(opening) or (family.place != "own message" and opening in raw.text)
    differs = ""
    if raw.bos != family.bos:
        differs = f"begins with {raw.bos or 'no token'}, not with {family.bos or 'no token'}"
    elif not opened:
        differs = f"ends with {raw.text[-len(opening) :]!r}, not with {opening!r}"
    elif not any(text.strip() and text.strip() in closing for text in raw.stop) and (
        closing.strip()
    ):
        differs = f"a user's message is not ended by {closing!r}"
    if differs:
        return FamilyCheck(False, f"the prompt from {raw.source} {differs} as in {family.name}")
    return FamilyCheck(True, f"the prompt from {raw.source} is as in {family.name}")
