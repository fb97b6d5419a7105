"""What a chat template left in a text: special tokens, role labels, or nothing else at all."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from dria_magpie.engines.chat.reasoning import TAG
from dria_magpie.engines.prompts.families import find_family

_SPECIAL = re.compile(
    # Both kinds of bars: DeepSeek's is a wide one. The second is torn at the end of the text, the
    # next two are Gemma-4's, the last one EXAONE's. None has a blank, as operators with bars do.
    r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>"
    r"|<[|\uff5c][^\W\d][\w\u2581]{1,40}[|\uff5c]?\s*\Z"
    r"|<\|[a-z_]{3,40}>|(?<![\w<])<[a-z_]{3,40}\|>"
    r"|\[\|[A-Za-z_]{3,40}\|\]"
    # Those without bars, by their names: HTML, code and placeholders look the same
    r"|</?(?:s|bos|eos|pad|unk|sop|eop|eoh|eoa|tool_call|tool_response)>"
    r"|</?(?:start|end)_of_(?:turn|image|text|role|utterance)(?:>|\Z)"
    r"|<(?:BOS|EOS|PAD|UNK|CLS|SEP|MASK)_TOKEN>|(?<!\w)<AI>|(?<!\w)<(?:human|bot|user|assistant)>:"
    r"|<unused_?\d+>|<reserved_(?:special_token_)?\d+>|<(?:TOKENS_)?UNUSED_(?:TOKEN_)?\d+>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT"
    r"|MODEL_SETTINGS|gMASK|sMASK)\]"
    r"|<</?SYS>>|^###[ \t]*(?:Instruction|Response|Input)[ \t]*:",
    re.MULTILINE,
)
_TOKEN = re.compile(r"<[^<>\s]{2,40}>|\[[^\[\]\s]{2,40}\]")
_ROLE = r"(?:user|assistant|system|human|ai|bot|model)"
_LABEL = re.compile(
    rf"^\W{{0,5}}(?:GPT-?4[ \t]+(?:Correct[ \t]+)?)?{_ROLE}\W{{0,3}}:"
    rf"|^[#*\s]{{0,5}}{_ROLE}[*:\s]{{0,3}}$",
    re.IGNORECASE | re.MULTILINE,
)
_FENCED = re.compile(r"^[ \t]*```.*?(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
# Letters and signs to Unicode, but nothing that is seen
_UNSEEN = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def is_blank(text: str) -> bool:
    """Tell whether there is nothing to be seen: blanks, control characters, marks of no width."""
    return all(unicodedata.category(c)[0] in "CZM" or c in _UNSEEN for c in text)


def find_leak(text: str, model: str) -> str:
    """Give the first special token in a text, or mark of thoughts; empty if there is none.

    Args:
        text: what a model wrote as a user's message.
        model: its name; if its family is known, the family's own tokens are looked for, too.
    """
    found = _SPECIAL.search(text) or TAG.search(text)
    if found:
        return found[0]
    return next((token for token in _tokens_of(model) if token in text), "")


def find_label(text: str) -> str:
    """Give the first role label in a text, outside of code between fences; empty if there is none.

    Example::

        find_label("GPT4 Correct User: Hi")  # "GPT4 Correct User:"
    """
    found = _LABEL.search(_FENCED.sub("", text))
    return found[0].strip() if found else ""


@lru_cache(maxsize=32)
def _tokens_of(model: str) -> tuple[str, ...]:
    family = find_family(model)
    if family is None:
        return ()
    pieces = [family.bos, *family.user, *family.assistant, *(family.system or ()), *family.stop]
    return tuple(dict.fromkeys(token for piece in pieces for token in _TOKEN.findall(piece)))
