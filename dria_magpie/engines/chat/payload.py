"""OpenAI's chat completions as JSON: what is sent, and what is made of the answer. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from dria_magpie.engines.chat.failures import CallFailed, Failure, Kind, quote
from dria_magpie.engines.chat.reasoning import split_reasoning
from dria_magpie.engines.chat.refusals import read_embedded_error
from dria_magpie.models import Generation, GenerationRequest, Message, Sampling
from dria_magpie.models.generation import MOST_TOKENS
from dria_magpie.models.text import clean_text

_SEEDS = 2**31
# A retry after an empty answer must not draw it again, nor what another call of the same job draws:
# their seeds follow one another. Instructions leap three times as far, and not here.
_SEED_STRIDE = _SEEDS // 15
_SAMPLING = tuple(field.name for field in fields(Sampling))


def encode_request(
    request: GenerationRequest, messages: Sequence[Message], **options: Any
) -> bytes:
    """Write the body of a chat call.

    Args:
        request: what to generate.
        messages: its prompt, in a form that the model's chat template takes.
        options: see `make_body`.
    """
    body = make_body(request, **options)
    body["messages"] = [{"role": m.role, "content": m.content} for m in messages]
    return json.dumps(body).encode()


def make_body(
    request: GenerationRequest,
    *,
    empty: int = 0,
    max_tokens: int | None = None,
    stream: bool = False,
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Give what the bodies of all calls have: everything but the prompt.

    Args:
        request: what to generate.
        empty: how many calls for this request were answered with nothing; 0 at open user turns.
        max_tokens: the cap where the request has none.
        stream: whether the answer is to come in pieces.
        extra: fields that this endpoint alone knows; the request's own come before them.
    """
    body = {**extra, **_sampling(request.sampling)}
    if "repetition_penalty" in body:
        body["repeat_penalty"] = body["repetition_penalty"]  # the name at llama.cpp and Ollama
    if max_tokens is not None:
        body.setdefault("max_tokens", max_tokens)
    if empty and "seed" in body:
        body["seed"] = (body["seed"] + empty * _SEED_STRIDE) % _SEEDS
    if request.response_format is not None:
        body["response_format"] = dict(request.response_format)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    body["model"] = request.model
    return body


def decode_answer(body: Any, request: GenerationRequest, attempts: int = 1) -> Generation:
    """Read a completion object, which came with call number `attempts`.

    Reasoning is taken out of answers only: who writes a user's message has nothing to think over,
    so there its marks stay where they are seen.

    Raises:
        CallFailed: it is none, or it has no text.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise CallFailed(Failure(Kind.BODY, "answered without a message in choices", 200))
    text, reasoning = _text(message.get("content")), ""
    given = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    if not given and not request.open_user_turn:
        text, reasoning = split_reasoning(text)
    finish_reason = choice.get("finish_reason")
    usage = _mapping(body.get("usage"))
    model = body.get("model")
    answer = Generation(
        text=text.lstrip() if given else text,
        reasoning=given or reasoning,
        finish_reason=_text(finish_reason) or "stop",
        model=quote(_text(model)) or request.model,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        attempts=attempts,
    )
    if not text or text.isspace():
        raise CallFailed(_emptiness(answer, request))
    return answer


def decode_models(body: Any) -> tuple[str, ...] | None:
    """Read a list of models; None if it is none, or empty."""
    entries = body.get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        return None
    names = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    return tuple(filter(None, map(_text, names))) or None


def parse_body(data: bytes, secret: str | None = None) -> Any:
    """Parse the body of an answer, damaged UTF-8 replaced.

    Raises:
        CallFailed: this is no JSON, or an error that was sent as an answer.
    """
    text = data.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        words = f"what is no JSON: {quote(text, secret)}" if text.strip() else "an empty body"
        raise CallFailed(Failure(Kind.BODY, f"answered with {words}")) from None
    if isinstance(body, dict) and body.get("error") and not body.get("choices"):
        raise CallFailed(read_embedded_error(text, secret))
    return body


def _sampling(sampling: Sampling) -> dict[str, Any]:
    # By hand because Sampling.to_dict copies deeply, a tenth of the time of a whole call
    values = ((name, getattr(sampling, name)) for name in _SAMPLING)
    return {name: value for name, value in values if value is not None and value != ()}


def _emptiness(answer: Generation, request: GenerationRequest) -> Failure:
    if answer.finish_reason == "length":
        taker = "reasoning took every token" if answer.reasoning else "it met its token cap"
        return Failure(
            Kind.EMPTY_FOR_GOOD,
            f"answered without text: {taker} ({answer.completion_tokens}); raise max_tokens",
        )
    if answer.finish_reason == "content_filter":
        return Failure(Kind.EMPTY_FOR_GOOD, "withheld the answer: its content filter took it away")
    # Who asks for a user's message draws it again himself, and keeps the seed that it came from
    kind = Kind.EMPTY_FOR_GOOD if request.open_user_turn else Kind.EMPTY
    return Failure(kind, "answered with nothing; try another prompt, seed or temperature")


def _text(content: Any) -> str:
    """Give the text of a content field: a string, parts of which some are text, or nothing."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        content = "".join(
            part["text"]
            for part in parts
            if part.get("type") == "text" and isinstance(part.get("text"), str)
        )
    return clean_text(content) if isinstance(content, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return value if type(value) is int and 0 < value < MOST_TOKENS else 0
