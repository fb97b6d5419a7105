"""Reads what endpoints write when they refuse: every server has words of its own. No I/O."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Callable
from typing import Any

from dria_magpie.engines.chat.failures import Failure, Kind, quote
from dria_magpie.engines.chat.system_role import refuses_roles

_LONGEST_RETRY_AFTER = 60.0


def read_retry_after(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Read a Retry-After header (seconds or an HTTP date) as seconds from now, at most 60."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def read_refusal(
    status: int, text: str, retry_after: str | None = None, secret: str | None = None
) -> Failure:
    """Tell what an answer with an error status (or an error in its body) means."""
    error = _error_object(text)
    words = str(error.get("message") or text)
    reason = f"answered {status}" + (f": {quote(words, secret)}" if words.strip() else "")
    if 300 <= status < 400:
        return Failure(Kind.STATUS, f"answered {status}, a redirect: {quote(text, secret)}", status)
    if (status == 413 and "rate_limit" not in text) or (
        status not in {401, 403, 404, 429} and _too_long(text)
    ):
        return Failure(Kind.CONTEXT, _sizes(error, words) or reason, status)
    if status in {400, 422, 500} and refuses_roles(text):
        return Failure(Kind.ROLES, reason, status)
    return Failure(Kind.STATUS, reason, status, read_retry_after(retry_after))


def read_embedded_error(text: str, secret: str | None = None) -> Failure:
    """Tell what an error means that came as the body of a 200, or in the middle of a stream."""
    error = _error_object(text)
    code = error.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return read_refusal(code, text, secret=secret)
    if _too_long(text):
        return read_refusal(400, text, secret=secret)
    words = str(error.get("message") or text)
    return Failure(Kind.BODY, f"answered with an error: {quote(words, secret)}")


def _error_object(text: str) -> dict[str, Any]:
    """Give the part of an error body that carries the message, whatever server wrote it."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


_TOO_LONG = re.compile(
    r"exceed_context_size|context_length_exceeded|maximum context length|maximum model length"
    r"|longer than the model's context length|exceeds the available context size"
    r"|context size has been exceeded"
    r"|input length exceeds|exceeded max context length|exceed context window of"
    r"|model's context length is|context length of only|should not exceed max_num_tokens"
    r"|input token count.{0,40} exceeds the maximum number of tokens"
    r"|inputs` (?:tokens \+|must have less than)|prompt is too long",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"(?:context length (?:is|of) |context size \(|context length \(|must be <= |less than "
    r"|model length of )(\d[\d,]*)"
)
_TOKENS = re.compile(
    r"(?:resulted in |requested |[iI]nput \(|request \(|request has |Given: |length )(\d[\d,]*)"
)


def _too_long(text: str) -> bool:
    return _TOO_LONG.search(text) is not None


def _sizes(error: dict[str, Any], words: str) -> str:
    """Say how long the prompt is and may be, or nothing where the endpoint does not say."""
    tokens, limit = (_whole(error.get(name)) for name in ("n_prompt_tokens", "n_ctx"))
    if tokens is None and (found := _TOKENS.search(words)):
        tokens = found[1]
    if limit is None and (found := _LIMIT.search(words)):
        limit = found[1]
    if limit is None:
        return ""
    return f"{tokens} tokens, {limit} at most" if tokens else f"{limit} tokens at most"


def _whole(value: Any) -> Any:
    return value if type(value) is int else None
