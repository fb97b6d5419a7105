"""What can go wrong with one call to an endpoint, as a value, and the error it ends in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from dria_magpie.errors import (
    ContextLengthError,
    EmptyCompletionError,
    EndpointError,
    EngineError,
)

_QUOTE = 200


class Kind(Enum):
    """Kinds of failures that are treated differently."""

    REFUSED = auto()  # no connection came about
    LOST = auto()  # the connection broke before the answer was whole
    INSECURE = auto()  # the server's certificate was not accepted
    TIMEOUT = auto()  # no answer in time
    STATUS = auto()  # the endpoint said no
    BODY = auto()  # an answer that is none
    EMPTY = auto()  # an answer without text, by chance
    EMPTY_FOR_GOOD = auto()  # an answer without text that will not get better
    CONTEXT = auto()  # the prompt is too long
    ROLES = auto()  # the chat template takes no such order of roles


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one call failed.

    Attributes:
        kind: what decides on trying again.
        reason: the words for people, as the end of a sentence that begins with the URL.
        status: the HTTP status, if there was one.
        retry_after: seconds that the endpoint asked for, if it did.
        unlucky: whether the endpoint answered others since the request's call before this one.
    """

    kind: Kind
    reason: str
    status: int | None = None
    retry_after: float | None = None
    unlucky: bool = False


class CallFailed(Exception):  # noqa: N818 - an event inside of the engines, never a user's error
    """One call failed; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class LostConnectionError(EndpointError):
    """The endpoint is not there, or not any more."""


def quote(text: str, secret: str | None = None) -> str:
    """Shorten foreign text to what fits into a message, without the API key."""
    if secret:
        text = text.replace(secret, "***")
    text = " ".join(text[: 20 * _QUOTE].split())
    # What a stranger wrote may end in a terminal, which control characters would drive
    text = "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cs"})
    return text if len(text) <= _QUOTE else text[:_QUOTE] + "…"


def final_error(failures: Sequence[Failure], url: str, model: str, calls: int) -> EngineError:
    """Make the error that a user sees from the failures of a request, the last one deciding."""
    last = failures[-1]
    what = f"{url} {last.reason}" + (f" (model {model})" if model else "")
    tries = f" ({calls} attempts)" if calls > 1 else ""
    match last.kind:
        case Kind.CONTEXT:
            return ContextLengthError(
                f"the prompt is too long for the context of {model}: {last.reason}; "
                "take fewer turns, shorter personas, a lower max_tokens, or a model with a larger "
                "context"
            )
        case Kind.EMPTY | Kind.EMPTY_FOR_GOOD:
            return EmptyCompletionError(f"{what}{tries}")
        case Kind.REFUSED | Kind.LOST:
            return LostConnectionError(f"{url} {last.reason}{tries}; is the server running?")
        case _:
            return EndpointError(f"{what}{tries}; {_advice(last)}", last.status)


def _advice(failure: Failure) -> str:
    status = failure.status or 0
    if failure.kind is Kind.INSECURE:
        return "check the host name, or use http:// on a network of your own"
    if failure.kind is Kind.TIMEOUT:
        return "see whether the server is overloaded, or give a longer timeout"
    if failure.kind is Kind.ROLES:
        return "its chat template takes only user and assistant messages that alternate"
    if failure.kind is Kind.BODY:
        return "is this the URL of an OpenAI-compatible API? It usually ends in /v1"
    if status in {401, 403}:
        return "set DRIA_API_KEY, or name the variable of the key with --api-key-env NAME"
    if status in {404, 405}:
        return "check the model's name and the URL, which usually ends in /v1"
    if 300 <= status < 400:
        return "give the URL that it points to"
    if status == 429:
        return "lower the concurrency, or raise the endpoint's limit"
    return "see the server's log" if status >= 500 else "the endpoint takes no such request"
