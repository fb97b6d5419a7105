"""What is wrong with a recipe, in words that name the key and its line."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dria_magpie.models import Sampling

Key = int | str
Statement = tuple[int, dict[str, Any]]  # the line on which it begins, and what it sets
_TAKES = {
    "int_type": "takes a whole number",
    "float_type": "takes a number",
    "string_type": "takes a text",
    "string_unicode": "takes a text, without halves of characters",
    "string_too_short": "takes a text that is not blank",
    "string_pattern_mismatch": "takes a text that is not blank",
    "tuple_type": "takes a list",
    "too_short": "takes one or more",
    "dict_type": "takes a table",
    "model_type": "takes a table",
    "literal_error": "takes {expected}",
    "greater_than": "takes more than {gt:g}",
    "greater_than_equal": "takes {ge:,} or more",
    "less_than": "takes less than {lt:,}",
    "less_than_equal": "takes {le:,} at most",
    "finite_number": "takes a number that is not infinite",
    "missing": "is missing",
}
# What a statement begins with. Lines within a text may look the same, which does no harm.
_BEGINS = re.compile(r"""[ \t]*(?:\[|(?:[\w-]+|"(?:\\.|[^"\\])*"|'[^']*')[ \t]*[=.])""")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def explain(
    error: ValidationError, where: str, values: object, text: str, model: type[BaseModel]
) -> str:
    """Say what is wrong, a line a mistake.

    Args:
        error: what pydantic found.
        where: the recipe's name.
        values: what the recipe says.
        text: the same in TOML, for the numbers of lines; may be empty.
        model: the class of the recipe.
    """
    statements = list(_read_statements(text))
    lines = []
    for problem in error.errors(include_url=False):
        keys = list(_as_written(problem["loc"], values))
        line = _find_line(keys, statements)
        place = f"{where}, line {line}" if line else where
        lines.append(f"{place}: {_path(keys)}{_describe(problem, model)}")
    return "\n".join(dict.fromkeys(lines))


def _describe(problem: ErrorDetails, model: type[BaseModel]) -> str:
    kind, loc = problem["type"], problem["loc"]
    if kind == "extra_forbidden":
        known = _known(model, loc[:-1])
        if len(loc) > 1 and loc[-1] in model.model_fields:
            return "unknown key; keys of the recipe itself stand before the first [table]"
        if len(loc) == 1:
            known += [f"sampling.{field.name}" for field in fields(Sampling)]
        short = {name.rpartition(".")[2]: name for name in reversed(known)}
        close = difflib.get_close_matches(str(loc[-1]), short, n=1)
        return "unknown key" + (f"; did you mean {short[close[0]]}?" if close else "")
    if kind in _TAKES:
        return _TAKES[kind].format(**problem.get("ctx", {}))
    return problem["msg"].removeprefix("Value error, ")


def _known(model: type[BaseModel], loc: Sequence[Key]) -> list[str]:
    """Give the keys that a table of the recipe has."""
    for key in loc:
        if isinstance(key, str):
            model = next(_parts(model.model_fields[key].annotation))
    return list(model.model_fields)


def _parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def _as_written(loc: Sequence[Key], values: object) -> Iterator[Key]:
    """Give a key's path without the keys that a short form leaves out."""
    for key in loc:
        if isinstance(key, str) and isinstance(values, Mapping):
            yield key
            values = values.get(key)
        elif isinstance(key, int) and isinstance(values, (list, tuple)):
            yield key
            values = values[key]


def _path(keys: Sequence[Key]) -> str:
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{_quote(key)}" for key in keys)
    return f"{path.removeprefix('.')}: " if path else ""


def _quote(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key)


def _find_line(keys: Sequence[Key], statements: Sequence[Statement]) -> int:
    """Give the line that sets a key, or the innermost table around it; 0 if there is none."""
    found, deepest = 0, 0
    for line, values in statements:
        depth = _count_known(keys, values)
        if depth > deepest:
            found, deepest = line, depth
    return found


def _count_known(keys: Sequence[Key], values: Any) -> int:
    for depth, key in enumerate(keys):
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(keys)


def _read_statements(text: str) -> Iterator[Statement]:
    """Give each statement of a TOML text, as `tomllib` reads it under the headers before it."""
    headers = statement = ""
    first = 1
    for number, lines in _split(text):
        first = first if statement else number
        statement += lines
        try:
            values = tomllib.loads(headers + statement)
        except tomllib.TOMLDecodeError:
            continue  # it goes on: that was a line of a list or of a text
        except RecursionError:
            return  # it was read before, where there was a little more room
        yield first, values
        if statement.lstrip().startswith("["):
            headers += statement
        statement = ""


def _split(text: str) -> Iterator[tuple[int, str]]:
    """Cut a text before each line that may begin a statement."""
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if _BEGINS.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        yield start + 1, "\n".join([*lines[start:end], ""])
