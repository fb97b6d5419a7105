"""Results of a dialogue workflow, read back."""

from __future__ import annotations

import json
from typing import Protocol

from dria_magpie.errors import ParseError

SPEAKERS = ("instructor", "responder")


class Result(Protocol):
    """What `TaskResult` and the ``dria`` SDK's result have in common."""

    @property
    def result(self) -> object:
        """The workflow's return value: the text of a JSON array of texts."""

    @property
    def model(self) -> str:
        """The model that ran."""


def parse_dialogue(result: Result) -> list[dict[str, str]]:
    """Give the messages of a dialogue, each under its speaker, text verbatim.

    Raises:
        ParseError: the task failed, or its result is no dialogue.
    """
    texts = enumerate(read_texts(result))
    return [{SPEAKERS[position % 2]: text} for position, text in texts]


def read_texts(result: Result) -> list[str]:
    """Give the texts of a result that is a list of messages, verbatim.

    Raises:
        ParseError: the task failed, or its result is no such list, or one of them is empty.
    """
    error = getattr(result, "error", None)
    if error:
        cause = error if isinstance(error, BaseException) else None
        raise ParseError(f"the task failed, so there is no dialogue: {error}") from cause
    if not hasattr(result, "result") or not hasattr(result, "model"):
        raise ParseError(f"a result has the attributes result and model; {result!r:.80} has not")
    texts: list[str] = []
    for position, text in enumerate(_read(result.result)):
        if not isinstance(text, str):
            raise ParseError(f"message {position} is {type(text).__name__}, not a text")
        if not text.strip():
            raise ParseError(f"message {position} is empty")
        texts.append(text)
    return texts


def _read(text: object) -> list[object]:
    if not isinstance(text, str):
        raise ParseError(f"a dialogue comes as the text of a JSON array, not {text!r:.80}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"a dialogue comes as a JSON array, not {text[:80]!r}") from error
    if not isinstance(value, list):
        raise ParseError(f"a dialogue comes as a JSON array, not as {type(value).__name__}")
    if not value:
        raise ParseError("the dialogue has no messages")
    return value
