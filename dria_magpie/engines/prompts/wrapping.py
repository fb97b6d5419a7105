"""How much a chat template puts around a user's message."""

from __future__ import annotations

import re

from dria_magpie.engines.prompts.cutting import cut
from dria_magpie.engines.prompts.family import Family
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.errors import InvalidInputError, UnsupportedError

# No tokenizer takes fewer tokens than there are special tokens, words, and signs or line ends in a
# row; a blank may go with the word after it
_TOKEN = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Za-z_]{2,30}\]|\w+|[^\w\s]+|\n+")
_USUAL = 3  # a first token, and one on each side of the message


def least_wrapping(style: ChatTemplate | Family) -> int:
    """Give the fewest tokens that can stand around a message which is to be answered.

    Example::

        least_wrapping(find_family("mistral:7b"))  # 3: <s>[INST] and [/INST]
    """
    if isinstance(style, Family):
        around = "".join([style.bos, *style.user, style.assistant[0]])
    else:
        try:
            around = " ".join(cut(style, (), answered=True))
        except (InvalidInputError, UnsupportedError):
            return _USUAL
    return len(_TOKEN.findall(around))
