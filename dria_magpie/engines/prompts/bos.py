"""The text that begins a prompt: whether a template writes it, and that it stands there once."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from dria_magpie.engines.prompts.cutting import cut
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Message, Role

_PROBE = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Oh"))
_USERS = 2
# For templates that write it out and come without a word on what it is
_KNOWN = re.compile(
    r"\[gMASK\] ?<?sop>?|<s>|<bos>|<BOS_TOKEN>|<\|(?:startoftext|endoftext|bos)\|>"
    r"|<[|\uff5c]begin[_▁]of[_▁](?:text|sentence)[|\uff5c]>"
)


@lru_cache(maxsize=32)
def written_bos(template: ChatTemplate) -> str:
    """Give the text with which the template begins every prompt; empty if it writes none.

    Some write it before each exchange, too. A token that opens every message, as in SmolLM2,
    begins a prompt as well, but is none.
    """
    bos = template.bos_token
    try:
        text = template.render(_PROBE)
        without = replace(template, bos_token="").render(_PROBE)
    except UnsupportedError:
        return bos if "bos_token" in template.text else ""
    if not bos and (known := _KNOWN.match(text)):
        bos = known[0]
    if not bos or not text.startswith(bos):
        return ""
    return bos if text != without or text.count(bos) in {1, _USERS} else ""


def tidy_bos(text: str, bos: str) -> str:
    """Leave one of several at the beginning."""
    several = re.match(f"(?:{re.escape(bos)})+", text) if bos else None
    return bos + text[several.end() :] if several else text


@lru_cache(maxsize=256)
def check_bos(template: ChatTemplate, bos: str, roles: tuple[Role, ...]) -> None:
    """Check that the token is nowhere but where prompts, exchanges or messages begin.

    Args:
        template: the chat template.
        bos: the token's text.
        roles: those of the history. Its words have no part in it: they may quote the token, and
            the template may drop them.

    Raises:
        InvalidInputError: it stands elsewhere.
    """
    if not bos:
        return
    history = [Message(role, "Yes") for role in roles]
    found = tidy_bos(cut(template, history, answered=False).before, bos).count(bos)
    if found not in {1, roles.count("user") + 1, len(roles) + 1}:
        raise InvalidInputError(
            f"the chat template ({template.origin}) writes {bos} {found} times in one prompt; "
            "give the model's own template"
        )
