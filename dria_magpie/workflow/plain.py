"""What may stand in a graph: values that JSON can say, nested no deeper than executors read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

DEEPEST = 100
_LARGEST_INT_BITS = 4096


def check_json(value: Any, *, passed: tuple[type, ...] = ()) -> Any:
    """Give a value back if it can be written as JSON; objects of the types `passed` may be in it.

    Raises:
        ValueError: text that is not Unicode, a number that is none, or too deep a nesting.
    """
    layer = [value]
    for _ in range(DEEPEST):
        # By identity, so that what stands in many places is looked at once.
        layer = list({id(c): c for v in layer for c in _children(v, passed)}.values())
        if not layer:
            return value
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _children(value: Any, passed: tuple[type, ...]) -> Iterable[Any]:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, Mapping):
        for key in value:
            _check_key(key)
        return value.values()
    elif isinstance(value, (list, tuple)):
        return value
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON")
    elif isinstance(value, int):
        if value.bit_length() > _LARGEST_INT_BITS:
            raise ValueError("a whole number is too large")
    elif value is not None and not isinstance(value, passed):
        raise ValueError(f"{value!r:.80} is nothing that JSON can say")
    return ()


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise ValueError(f"the key {key!r:.80} is no text")  # noqa: TRY004 - pydantic takes it
    _check_text(key)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!a:.80} is not valid text") from error
