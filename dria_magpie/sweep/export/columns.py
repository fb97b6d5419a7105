"""The columns of a dataset, and a row's values in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dria_magpie.factory.results import SPEAKERS
from dria_magpie.models import Message
from dria_magpie.models.text import clean_text
from dria_magpie.sweep.row import Row

Format = Literal["messages", "sharegpt", "dialogue"]
Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name: as files have it.
        told: what it holds, for the card.
        dtype: of its values, as Arrow and the hub name it.
        many: it holds a list of them.
        fields: the keys of the objects that the list holds instead, each a ``dtype``.
        one_key: each of these objects has only one of the keys.
    """

    name: str
    told: str
    dtype: Literal["string", "int64"] = "string"
    many: bool = False
    fields: tuple[str, ...] = ()
    one_key: bool = False


_DIALOGUES = {
    "messages": Column(
        name="messages",
        told="the dialogue: objects with `role` (`user` or `assistant`) and `content`",
        many=True,
        fields=("role", "content"),
    ),
    "sharegpt": Column(
        name="conversations",
        told="the dialogue: objects with `from` (`human` or `gpt`) and `value`",
        many=True,
        fields=("from", "value"),
    ),
    "dialogue": Column(
        name="dialogue",
        told="the dialogue: objects with either `instructor` or `responder`, the text",
        many=True,
        fields=SPEAKERS,
        one_key=True,
    ),
}
_ORIGINS = {
    "dialogue": (
        Column(name="instructor_persona", told="who asks"),
        Column(name="responding_persona", told="who answers"),
    ),
    "self_synthesis": (
        Column(name="system_prompt", told="what stood before the messages; empty for nothing"),
        Column(name="system_prompt_key", told="the name of the system prompt in the recipe"),
        Column(name="persona", told="who the user is"),
    ),
}
_METADATA = (
    Column(name="model", told="the model that wrote it; several are joined by a comma"),
    Column(name="turns", told="questions that were answered", dtype="int64"),
    Column(
        name="finish_reasons",
        told="why each message ended: `stop`, or `length` if it was cut off",
        many=True,
    ),
    Column(name="prompt_tokens", told="tokens of all prompts", dtype="int64"),
    Column(
        name="cached_tokens",
        told="how many of these came from the engine's prefix cache",
        dtype="int64",
    ),
    Column(name="completion_tokens", told="tokens that were generated", dtype="int64"),
    Column(name="seed", told="the seed of the first call", dtype="int64"),
    Column(name="node", told="the address of the node that made it last"),
)
_ID = Column(name="id", told="the same for the same recipe, wherever it runs")


def columns_of(format: Format, kind: str) -> tuple[Column, ...]:  # noqa: A002 - the public name
    """Give the columns in their order.

    Args:
        format: how the dialogue is put.
        kind: of the recipe.
    """
    return (_ID, _DIALOGUES[format], *_ORIGINS[kind], *_METADATA)


def to_record(row: Row, format: Format) -> Record:  # noqa: A002 - the public name
    """Give a row's values by column; every text can be encoded as UTF-8."""
    put = _PUT[format]
    return {
        "id": clean_text(row.id),
        _DIALOGUES[format].name: [
            put(message, clean_text(message.content)) for message in row.messages
        ],
        **{name: clean_text(text) for name, text in row.origin.items()},
        "model": clean_text(row.model),
        "turns": len(row.messages) // 2,
        "finish_reasons": [clean_text(reason) for reason in row.finish_reasons],
        "prompt_tokens": row.prompt_tokens,
        "cached_tokens": row.cached_tokens,
        "completion_tokens": row.completion_tokens,
        "seed": row.seed,
        "node": clean_text(row.node),
    }


def _put_chat(message: Message, text: str) -> dict[str, str]:
    return {"role": message.role, "content": text}


def _put_sharegpt(message: Message, text: str) -> dict[str, str]:
    return {"from": _SHAREGPT[message.role], "value": text}


def _put_speaker(message: Message, text: str) -> dict[str, str]:
    return {SPEAKERS[message.role == "assistant"]: text}


_SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system"}
_PUT: dict[Format, Callable[[Message, str], dict[str, str]]] = {
    "messages": _put_chat,
    "sharegpt": _put_sharegpt,
    "dialogue": _put_speaker,
}
