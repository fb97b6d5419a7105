"""Reads what a model's files say of its chat template: GGUF metadata, tokenizer_config.json."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from dria_magpie.engines.weights.gguf import MAGIC, STRING, read_value
from dria_magpie.errors import InvalidInputError, UnsupportedError

WHAT_TO_GIVE = (
    "give the path of the model's tokenizer_config.json, of its .gguf file, or of a .jinja file"
)
_CONFIG, _TOKENS_MAP = "tokenizer_config.json", "special_tokens_map.json"
_TOKEN_NAMES = ("bos_token", "eos_token")
_ARRAY = 9
_TOKENS = "tokenizer.ggml.tokens"
_MOST_READS = 10_000_000  # a vocabulary of 500,000 tokens with its merges takes a third of it
_MOST_BYTES = 512 * 2**20


class Parts(NamedTuple):
    """A chat template, and the special tokens that it may write."""

    text: str
    bos_token: str
    eos_token: str


def read_gguf(path: Path) -> Parts:
    """Read the metadata of a GGUF file, and nothing of its tensors.

    Raises:
        InvalidInputError: the file cannot be read, is damaged or is no GGUF.
        UnsupportedError: it carries no chat template.
    """
    try:
        with path.open("rb") as file:
            found, tokens = _read_head(cast("BinaryIO", _Head(file)))
            text = found.get("tokenizer.chat_template")
            ids = [found.get(f"tokenizer.ggml.{end}_token_id") for end in ("bos", "eos")]
            bos, eos = (_read_token(file, tokens, number) for number in ids)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    except (struct.error, ValueError, KeyError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is damaged, or is no GGUF file of version 2 or 3"
        ) from error
    if not isinstance(text, str):
        raise UnsupportedError(f"{path} carries no chat template; {WHAT_TO_GIVE}")
    return Parts(text, bos, eos)


class _Head:
    """A file whose beginning alone may be read, so that a damaged count ends soon."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads = 0

    def read(self, size: int) -> bytes:
        self._reads += 1
        if self._reads > _MOST_READS or self._file.tell() > _MOST_BYTES:
            raise ValueError(size)
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell()


def _read_head(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Give the metadata but lists, and where the list of tokens begins; 0 if there is none."""
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != MAGIC or version not in (2, 3):
        raise ValueError(magic)
    found: dict[str, Any] = {}
    tokens = 0
    for _ in range(count):
        key = read_value(file, STRING)
        (kind,) = struct.unpack("<I", file.read(4))
        tokens = file.tell() if key == _TOKENS and kind == _ARRAY else tokens
        found[key] = read_value(file, kind)
    return found, tokens


def _read_token(file: BinaryIO, tokens: int, number: Any) -> str:
    if not tokens or not isinstance(number, int):
        return ""
    file.seek(tokens)
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind != STRING or not 0 <= number < count:
        return ""
    for _ in range(number):
        file.seek(struct.unpack("<Q", file.read(8))[0], 1)
    return str(read_value(file, STRING))


def read_tokenizer_config(path: Path) -> Parts:
    """Read a tokenizer_config.json; a chat_template.jinja beside it comes first, as elsewhere.

    Raises:
        InvalidInputError: the file cannot be read or is no JSON object.
        UnsupportedError: there is no chat template.
    """
    config = {**(_read_tokens(path) or {}), **_read_object(path)}
    beside = path.with_name("chat_template.jinja")
    if beside.is_file():
        config["chat_template"] = _read_text(beside)
    return read_config(config, str(path))


def read_jinja(path: Path) -> Parts:
    """Read a template, and its special tokens from what lies beside it.

    Raises:
        InvalidInputError: a file cannot be read or is damaged.
        UnsupportedError: the template writes special tokens, and nothing says which.
    """
    text = _read_text(path)
    tokens = _read_tokens(path)
    used = [name for name in _TOKEN_NAMES if name in text]
    if tokens is None and used:
        raise UnsupportedError(
            f"{path} writes {' and '.join(used)}, and there is no {_CONFIG} beside it that says "
            f"what that is; put the model's {_CONFIG} there, or give its path"
        )
    return read_config({**(tokens or {}), "chat_template": text}, str(path))


def _read_text(path: Path) -> str:
    """Read a text.

    Raises:
        InvalidInputError: it cannot be read, or is none.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is damaged: it is no text in UTF-8") from error


def _read_tokens(path: Path) -> dict[str, Any] | None:
    """Give what the files beside another one say of special tokens; None if there are none."""
    beside = [path.with_name(name) for name in (_TOKENS_MAP, _CONFIG)]
    found = [_read_object(file) for file in beside if file.is_file()]
    if not found:
        return None
    return {name: each[name] for each in found for name in _TOKEN_NAMES if name in each}


def _read_object(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path} is damaged: it takes a JSON object")
    return value


def read_config(config: Mapping[str, Any], origin: str) -> Parts:
    """Read the content of a tokenizer_config.json.

    Raises:
        UnsupportedError: there is no chat template, or none named ``default``.
    """
    text = config.get("chat_template")
    if isinstance(text, list):
        named = [entry for entry in text if isinstance(entry, dict)]
        text = next((e.get("template") for e in named if e.get("name") == "default"), None)
    if not isinstance(text, str):
        raise UnsupportedError(f"{origin} has no chat template; {WHAT_TO_GIVE}")
    return Parts(text, _token(config.get("bos_token")), _token(config.get("eos_token")))


def _token(value: Any) -> str:
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""
