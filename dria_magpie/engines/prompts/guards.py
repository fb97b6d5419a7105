"""What a template may call, and what is counted before and after: filters, methods, operators."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from itertools import islice
from typing import Any

from dria_magpie.engines.prompts.budget import LARGEST, OverBudgetError, allow, spend, weigh

Filter = Callable[..., Any]
_MOST_BITS = 4096
_WIDEST_INDENT = 16

# Those that pad to any width (ljust, zfill, expandtabs, format …) are left out
_METHODS = (
    "capitalize casefold count endswith find index isalnum isalpha isdigit islower isspace isupper "
    "join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper"
)
METHODS = frozenset(_METHODS.split())


def guard_method(function: Any, arguments: tuple[Any, ...]) -> None:
    """Spend what a method of a text will make before it makes it."""
    text, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if isinstance(text, str) and name == "replace" and len(arguments) > 1:
        _allow_replace(text, arguments[0], arguments[1])
    elif isinstance(text, str) and name == "join" and arguments:
        _allow_join(arguments[0], text)


def guard_operator(operator: str, left: Any, right: Any) -> None:
    """Spend what an operator will make before it makes it."""
    if isinstance(left, int) and isinstance(right, int):
        growth = {"*": left.bit_length() + right.bit_length(), "**": left.bit_length() * right}
        if growth.get(operator, 0) > _MOST_BITS:
            raise OverBudgetError("it calculates with huge numbers")
    elif operator == "*":
        repeats = next((n for n in (left, right) if isinstance(n, int)), 1)
        allow(weigh((left, right))[0] * max(repeats, 1))
    elif operator == "%" and isinstance(left, str):
        raise OverBudgetError("texts are not formatted with % here; use ~ or +")
    else:
        allow(weigh((left, right))[0])


def _allow_replace(text: Any, old: Any, new: Any) -> None:
    spend(weigh((text, old, new))[1])
    text, old, new = str(text), str(old), str(new)
    allow(len(text) + text.count(old) * len(new))


def _allow_join(parts: Any, separator: Any) -> None:
    if isinstance(parts, (list, tuple, dict, str)):
        size, _ = weigh(separator)
        allow(weigh(parts)[0] + len(parts) * size)
    else:
        raise OverBudgetError("only lists are joined here; put |list before")


def _weighed(function: Filter) -> Filter:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        spend(1)
        result = function(*args, **kwargs)
        spend(weigh(result)[0])
        return result

    return wrapper


def _replace(function: Filter) -> Filter:
    @functools.wraps(function)
    def wrapper(context: Any, s: Any, old: Any, new: Any, count: int | None = None) -> Any:
        _allow_replace(s, old, new)
        return function(context, s, old, new, count)

    return wrapper


def _join(function: Filter) -> Filter:
    @functools.wraps(function)
    def wrapper(context: Any, value: Any, d: Any = "", attribute: Any = None) -> Any:
        parts = list(islice(value, LARGEST))
        _allow_join(parts, d)
        return function(context, parts, d, attribute)

    return wrapper


def _indent(function: Filter) -> Filter:
    @functools.wraps(function)
    def wrapper(s: Any, width: Any = 4, *args: Any, **kwargs: Any) -> Any:
        margin = width if isinstance(width, int) else len(str(width))
        allow(weigh(s)[0] + (str(s).count("\n") + 1) * margin)
        return function(s, width, *args, **kwargs)

    return wrapper


def _of_text(function: Filter) -> Filter:
    @functools.wraps(function)
    def wrapper(value: Any, *args: Any) -> Any:
        allow(weigh(value)[0])
        return function(value, *args)

    return wrapper


def _tojson(_: Filter) -> Filter:
    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        if indent is not None and not 0 <= indent <= _WIDEST_INDENT:
            raise OverBudgetError(f"tojson indents by {_WIDEST_INDENT} at most")
        allow(weigh(value)[0])
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    return tojson


_PLAIN = (
    "abs count d default dictsort first float groupby int items last length list map max min "
    "reject rejectattr reverse safe select selectattr sort unique"
)
_OF_TEXT = "capitalize e escape lower string title trim upper"
# The other filters of Jinja pad, repeat or draw lots, and no chat template is known to use them
FILTERS: dict[str, Callable[[Filter], Filter]] = {
    **dict.fromkeys(_PLAIN.split(), _weighed),
    **dict.fromkeys(_OF_TEXT.split(), _of_text),
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "tojson": _tojson,
}
