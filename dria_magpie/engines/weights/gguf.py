"""Reads what a GGUF file says of itself, without loading it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from dria_magpie.errors import ModelFileError

MAGIC = b"GGUF"
STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"} | {
    12: "d"
}
_LONGEST_TEXT = 16 * 2**20


def has_magic(path: Path) -> bool:
    """Tell whether the file begins as every GGUF does; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def trained_context(path: Path) -> int:
    """Give the number of tokens that the model was trained to see at once.

    Raises:
        ModelFileError: the file cannot be read, is no GGUF, or does not say.

    Example::

        trained_context(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))  # 8192
    """
    try:
        with path.open("rb") as file:
            return _find_context(file)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from error
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} is damaged, or is no GGUF file of version 2 or 3") from error


def _find_context(file: BinaryIO) -> int:
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != MAGIC or version not in (2, 3):
        raise ValueError(magic)
    for _ in range(count):
        key = read_value(file, STRING)
        value = read_value(file, *struct.unpack("<I", file.read(4)))
        if key.endswith(".context_length"):
            return int(value)
    raise KeyError("context_length")


def read_value(file: BinaryIO, kind: int) -> Any:
    """Read a value of the metadata; of an array, nothing is kept."""
    if kind == STRING:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > _LONGEST_TEXT:
            raise ValueError(size)
        text = file.read(size)
        if len(text) != size:
            raise ValueError(size)
        return text.decode()
    if kind == _ARRAY:
        element, count = struct.unpack("<IQ", file.read(12))
        for _ in range(count):
            read_value(file, element)
        return None
    code = _SCALARS[kind]
    return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]
