"""Comparisons between the steps of a run."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from dria_magpie.errors import StepError
from dria_magpie.workflow.memory import Memory, Value
from dria_magpie.workflow.parts import Condition, Expression
from dria_magpie.workflow.render import render
from dria_magpie.workflow.similarity import has_similar

_NUMBER = re.compile(
    r"[+-]?(inf|infinity|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)",
    re.ASCII | re.IGNORECASE,
)
_TEXT: dict[Expression, Callable[[str, str], bool]] = {
    Expression.EQUAL: operator.eq,
    Expression.NOT_EQUAL: operator.ne,
    Expression.CONTAINS: operator.contains,
    Expression.NOT_CONTAINS: lambda left, expected: expected not in left,
}
_ORDER: dict[Expression, Callable[[float, float], bool]] = {
    Expression.GREATER_THAN: operator.gt,
    Expression.LESS_THAN: operator.lt,
    Expression.GREATER_THAN_OR_EQUAL: operator.ge,
    Expression.LESS_THAN_OR_EQUAL: operator.le,
}


def is_met(condition: Condition, value: Value, memory: Memory) -> bool:
    """Tell whether a condition holds for the value of its input.

    Raises:
        StepError: an ordered comparison of something that is no number, or ``HaveSimilar``
            before anything was inserted.
    """
    left, expected = render(value), condition.expected
    if compare := _TEXT.get(condition.expression):
        return compare(left, expected)
    if order := _ORDER.get(condition.expression):
        return order(_number(left), _number(expected))
    if not memory.files:
        raise StepError("HaveSimilar compares with inserted texts, and none was inserted")
    return has_similar(expected, memory.files)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise StepError(f"an ordered comparison takes numbers, not {text[:80]!r}")
    return float(text)
