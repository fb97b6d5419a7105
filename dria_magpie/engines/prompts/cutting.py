"""Cuts a rendered conversation where the last user's message begins."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.errors import UnsupportedError
from dria_magpie.models import Message

# Templates may change the case of a message, but they leave one of these as it is
_WORDS = ("OPENTURNQX", "openturnqx", "Openturnqx")


class Cut(NamedTuple):
    """A rendered conversation around the last user's message."""

    before: str
    after: str


def cut(template: ChatTemplate, history: Sequence[Message], *, answered: bool) -> Cut:
    """Render a history and one more user's message, and take that message out.

    Args:
        template: the chat template.
        history: what comes before the user's message.
        answered: whether an answer is to follow, as in a conversation that goes on.

    Raises:
        UnsupportedError: the template refuses the messages, or does not write a user's message
            once and as it is.
        InvalidInputError: the template cannot be used.
    """
    for word in _free_words(template, history):
        messages = [*history, Message("user", word)]
        text = template.render(messages, add_generation_prompt=answered)
        if text.count(word) == 1:
            before, _, after = text.partition(word)
            return Cut(before, after)
    raise UnsupportedError(
        f"the chat template ({template.origin}) does not write a user's message once and as it "
        "is, so that none can be left open; give another template"
    )


def count_system(template: ChatTemplate, history: Sequence[Message]) -> int:
    """Count how often the template writes the system prompt that the history begins with."""
    for word in _free_words(template, history):
        messages = [Message("system", word), *history[1:], Message("user", "Hi")]
        count = template.render(messages).count(word)
        if count:
            return count
    return 0


def _free_words(template: ChatTemplate, history: Sequence[Message]) -> Iterator[str]:
    """Give words that stand nowhere in the template or the history."""
    texts = "\0".join([template.text, *(message.content for message in history)])
    small = texts.lower()
    # Who wants to have the word in a text that this is made from must find it by trying
    digest = hashlib.sha256(texts.encode("utf-8", "surrogatepass")).digest()[:16]
    suffix = "".join(chr(ord("a") + half) for byte in digest for half in divmod(byte, 16))
    for word in _WORDS:
        if word.lower() not in small:
            yield word
        else:
            yield word + (suffix.upper() if word.isupper() else suffix)
