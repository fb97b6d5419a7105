"""Renders chat templates, which are foreign code, as Hugging Face's renderer does.

The sandbox keeps a template from objects that are none of its business; budgets keep it from
eating the machine: all that can make a value larger is weighed, every pass of a loop is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cache, lru_cache
from typing import Any

from jinja2 import Template, Undefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dria_magpie.engines.prompts import budget
from dria_magpie.engines.prompts.guards import FILTERS, METHODS, guard_method, guard_operator
from dria_magpie.engines.prompts.syntax import GenerationTag, weave_checks

# One date for all: the same row must have the same prompt on any day, also when it is resumed.
# It is the date that Llama's templates name where they are given no clock.
TODAY = date(2024, 7, 26)
_LONGEST_SOURCE = 64 * 2**10  # the longest templates with tools have half of it
_DATE_FORMAT = re.compile(r"(?:[^%]|%-?[A-Za-z%]){0,100}")


class RefusedError(Exception):
    """The template called ``raise_exception``: it does not take these messages."""


def render(source: str, variables: Mapping[str, Any]) -> str:
    """Render a template.

    Raises:
        RefusedError: the template refuses the messages, in its own words.
        Exception: it is no template, or breaks out, or costs too much.
    """
    with budget.limited():
        parts: list[str] = []
        size = 0
        for part in _compile(source).generate(variables):
            parts.append(part)
            size += len(part)
            if size > budget.LARGEST:
                raise budget.OverBudgetError("it makes a text longer than any prompt")
        return "".join(parts)


@lru_cache(maxsize=32)
def _compile(source: str) -> Template:
    if len(source) > _LONGEST_SOURCE:
        raise budget.OverBudgetError(f"it has more than {_LONGEST_SOURCE} characters")
    environment = _environment()
    return environment.from_string(weave_checks(environment.parse(source), environment))


@cache
def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", GenerationTag],
        finalize=_finalize,
        optimized=False,
    )
    known = {name: f for name, f in environment.filters.items() if name in FILTERS}
    environment.filters = {name: FILTERS[name](function) for name, function in known.items()}
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in METHODS
        if isinstance(obj, (int, float, bytes)):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Any:
        if super().wrap_str_format(value) is not None:
            raise SecurityError("texts are not formatted with format here; use ~ or +")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        guard_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget.spend(budget.weigh((args, kwargs))[1])
        guard_method(obj, args)
        result = super().call(context, obj, *args, **kwargs)
        return self.keep(result)

    def keep(self, value: Any) -> Any:
        """Pass a value on that was weighed."""
        budget.spend(budget.weigh(value)[0])
        return value

    def tilde(self, *parts: Any) -> str:
        """Join the operands of ``~``."""
        budget.allow(budget.weigh(parts)[0])
        return "".join(map(str, parts))

    def tick(self, amount: int) -> bool:
        """Count one pass of a loop."""
        budget.spend(amount + 1)
        return True


@pass_context
def _finalize(context: Context, value: Any) -> Any:  # noqa: ARG001
    if not isinstance(value, Undefined):
        budget.spend(budget.weigh(value)[0])
    return value


def _raise_exception(words: Any) -> None:
    raise RefusedError(str(words)[:500])


def _strftime_now(form: str) -> str:
    if not _DATE_FORMAT.fullmatch(form):
        raise budget.OverBudgetError("strftime_now takes a short format")
    return TODAY.strftime(form)
