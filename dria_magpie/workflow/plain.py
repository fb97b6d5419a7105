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
    layer = _find_containers([[value]], passed)
    for _ in range(DEEPEST):
        if not layer:
            return value
        layer = _find_containers(layer, passed)
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _find_containers(layer: list[Any], passed: tuple[type, ...]) -> list[Any]:
    """Check what a layer of containers holds, and give the containers among it."""
    found: list[Any] = []
    # By identity, so that what stands in many places is looked at once.
    seen: set[int] = set()
    for container in layer:
        values = container
        if isinstance(container, (dict, Mapping)):
            _check_keys(container)
            values = container.values()
        for value in values:
            kind = type(value)
            if kind is str:
                if not value.isascii():
                    _check_text(value)
            elif kind is dict or kind is list or isinstance(value, (Mapping, list, tuple)):
                if id(value) not in seen:
                    seen.add(id(value))
                    found.append(value)
            elif value is not None:
                _check_scalar(value, passed)
    return found


def _check_scalar(value: Any, passed: tuple[type, ...]) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON")
    elif isinstance(value, int):
        if value.bit_length() > _LARGEST_INT_BITS:
            raise ValueError("a whole number is too large")
    elif not isinstance(value, passed):
        raise ValueError(f"{value!r:.80} is nothing that JSON can say")  # noqa: TRY004 - pydantic takes it


def _check_keys(keys: Iterable[object]) -> None:
    for key in keys:
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r:.80} is no text")  # noqa: TRY004 - pydantic takes it
        if not key.isascii():
            _check_text(key)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!a:.80} is not valid text") from error
