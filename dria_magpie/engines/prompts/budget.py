"""What the rendering of one chat template may cost in memory and time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2.utils import Namespace

LARGEST = 4 * 2**20  # characters and items of one value: a million tokens of text
_TOTAL = 16 * LARGEST
_ITEM = 8  # what one item counts, in characters
_SECONDS = 2.0


class OverBudgetError(Exception):
    """A template is too costly: a loop without end, or a text that grows and grows."""


@dataclass(slots=True)
class _Budget:
    left: int
    deadline: float


_budget: ContextVar[_Budget] = ContextVar("budget")


@contextmanager
def limited() -> Iterator[None]:
    """Give the code inside what one rendering may spend."""
    token = _budget.set(_Budget(_TOTAL, time.thread_time() + _SECONDS))
    try:
        yield
    finally:
        _budget.reset(token)


def spend(amount: int) -> None:
    """Take an amount off the budget.

    Raises:
        OverBudgetError: the budget, or the time, is used up.
    """
    budget = _budget.get()
    budget.left -= amount
    if budget.left < 0:
        raise OverBudgetError("it makes more text than any prompt holds")
    # Processor time: a machine that slept or is busy is not the template's fault
    if time.thread_time() > budget.deadline:
        raise OverBudgetError(f"it runs for more than {_SECONDS:g} s")


def allow(size: int) -> None:
    """Spend what a value will cost before it is made.

    Raises:
        OverBudgetError: the value is larger than any prompt, or the budget is used up.
    """
    if size > LARGEST:
        raise OverBudgetError("it makes a text longer than any prompt")
    spend(size)


def weigh(value: Any) -> tuple[int, int]:
    """Give what a value counts, and how many items it has; parts that it shares count each time.

    Raises:
        OverBudgetError: it is larger than any prompt.
    """
    size = items = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        items += 1
        size += _ITEM
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, (dict, Namespace)):
            pairs = _pairs_of(item)
            waiting.extend(pairs.keys())
            waiting.extend(pairs.values())
        if size + _ITEM * len(waiting) > LARGEST:
            raise OverBudgetError("it makes a value larger than any prompt")
    return size, items


def _pairs_of(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Namespace):
        return object.__getattribute__(value, "_Namespace__attrs")  # type: ignore[no-any-return]
    return value  # type: ignore[no-any-return]
