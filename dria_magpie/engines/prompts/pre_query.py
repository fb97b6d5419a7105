"""Prompts that end where the user's message begins, so that the model writes that message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from dria_magpie.engines.prompts import pieces
from dria_magpie.engines.prompts.bos import check_bos, tidy_bos, written_bos
from dria_magpie.engines.prompts.cutting import Cut, count_system, cut
from dria_magpie.engines.prompts.families import find_family_of_template
from dria_magpie.engines.prompts.family import Family
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.prompts.tokenizer_files import WHAT_TO_GIVE
from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Message

_SPECIAL = re.compile(
    r"<<[^<>\s]{1,40}>>|<[^<>\s]{1,40}>|\[/?[A-Z_]{2,30}\]|\[\|[A-Za-z_]{1,40}\|\]"
)
_TALK = (Message("user", "Hi"), Message("assistant", "Yes"))


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A prompt for an endpoint that continues text.

    Attributes:
        text: the prompt, to its last blank; nothing may be trimmed.
        stop: texts that end the user's message, the surest first.
        source: what it was made from, for people.
        bos: the text with which every prompt begins, and `text` too; empty if there is none.
        note: what differs from the prompt of the same conversation with an answer to follow;
            empty if nothing does.
    """

    text: str
    stop: tuple[str, ...]
    source: str
    bos: str = ""
    note: str = ""


def render_open_user_turn(
    messages: Sequence[Message], template_or_family: ChatTemplate | Family | None
) -> RawPrompt:
    r"""Write a conversation down whose last message, an empty one of the user, is left open.

    What comes before is what the template gives for the same conversation with the user's
    message in it: no header of an answer, no second beginning.

    Raises:
        InvalidInputError: the last message is no empty user message, or the template is faulty.
        UnsupportedError: there is neither template nor family, or they take no system prompt or
            no such order of roles.

    Example::

        render_open_user_turn([Message("user", "")], find_family("gemma2:9b")).text
        # "<bos><start_of_turn>user\n"
    """
    if not messages or messages[-1] != Message("user", ""):
        raise InvalidInputError("the last message of an open user turn is an empty user message")
    history = tuple(messages[:-1])
    match template_or_family:
        case None:
            raise UnsupportedError(
                f"how this model writes a user's message is not known; {WHAT_TO_GIVE}"
            )
        case Family() as family:
            source = f"the known family {family.name}"
            return RawPrompt(pieces.join(history, family), family.stop, source, family.bos)
        case template:
            return _from_template(history, template)


def without_bos(raw: RawPrompt) -> RawPrompt:
    """Take off once what begins the prompt, for servers that put it there."""
    return replace(raw, text=raw.text.removeprefix(raw.bos), bos="")


def _from_template(history: tuple[Message, ...], template: ChatTemplate) -> RawPrompt:
    left_open, answered = _cut_both(history, template)
    bos = written_bos(template)
    check_bos(template, bos, tuple(message.role for message in history))
    text = tidy_bos(left_open.before, bos)
    _check_headers(text, history, left_open, answered, template.origin)
    family = find_family_of_template(template.text)
    others = family.stop if family else [token for token in _openers(template) if token != bos]
    stop = [*_closings(answered.after), template.eos_token, *others]
    return RawPrompt(
        text,
        tuple(dict.fromkeys(filter(None, stop))),
        f"the chat template ({template.origin})",
        bos if bos and text.startswith(bos) else "",
        ""
        if left_open.before == answered.before
        else "the template writes earlier turns in another way where an answer is to follow",
    )


def _cut_both(history: tuple[Message, ...], template: ChatTemplate) -> tuple[Cut, Cut]:
    try:
        cuts = cut(template, history, answered=False), cut(template, history, answered=True)
        written = not _has_system(history) or count_system(template, history)
    except UnsupportedError as error:
        if _has_system(history) and _is_taken(history[1:], template):
            raise UnsupportedError(f"{error}; {pieces.NO_SYSTEM}") from error
        raise
    if not written:
        raise UnsupportedError(
            f"the chat template ({template.origin}) leaves the system prompt out; "
            f"{pieces.NO_SYSTEM}"
        )
    if written > 1:
        raise InvalidInputError(
            f"the chat template ({template.origin}) writes the system prompt {written} times; "
            "give the model's own template"
        )
    return cuts


def _has_system(history: Sequence[Message]) -> bool:
    return bool(history) and history[0].role == "system" and bool(history[0].content.strip())


def _is_taken(history: Sequence[Message], template: ChatTemplate) -> bool:
    try:
        cut(template, history, answered=False)
    except UnsupportedError:
        return False
    return True


def _check_headers(
    text: str, history: Sequence[Message], left_open: Cut, answered: Cut, origin: str
) -> None:
    """Check that every header of an answer in the text is that of an answer in the history."""
    if not answered.after.startswith(left_open.after):
        return
    header = answered.after.removeprefix(left_open.after).strip()
    if not header:
        return
    quoted = sum(message.content.count(header) for message in history)
    answers = sum(message.role == "assistant" for message in history)
    if text.count(header) - quoted > answers:
        raise InvalidInputError(
            f"the chat template ({origin}) opens an answer before the user's message; "
            "give the model's own template"
        )


@lru_cache(maxsize=32)
def _openers(template: ChatTemplate) -> tuple[str, ...]:
    """Give the special tokens that the template writes before and between messages."""
    for history in ((Message("system", "Be"), *_TALK), _TALK, ()):
        with suppress(UnsupportedError):
            return tuple(_SPECIAL.findall(cut(template, history, answered=False).before))
    return ()


def _closings(after: str) -> list[str]:
    """Give what ends a user's message: special tokens, or else the words that follow it."""
    return _SPECIAL.findall(after) or [after.rstrip()]
