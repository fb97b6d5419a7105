"""The card of a dataset: what it is, how it was made, and how to load it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dria_magpie.models.text import clean_text
from dria_magpie.sweep.export.columns import Column
from dria_magpie.sweep.export.head import write_head
from dria_magpie.sweep.export.sections import (
    tell_columns,
    tell_example,
    tell_figures,
    tell_loading,
    tell_making,
    tell_rows,
)
from dria_magpie.sweep.export.sinks import FileKind
from dria_magpie.sweep.export.tally import Tally
from dria_magpie.sweep.export.values import About

_MARK = "<!-- Written by dria-magpie. The next export replaces it; delete this line to keep it. -->"
_LONGEST_HEAD = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a card is made from.

    Attributes:
        file: the data's name in its directory.
        size: of the file, in bytes.
        kind: of the file.
        columns: in their order.
        tally: what was counted.
        about: what was told.
    """

    file: str
    size: int
    kind: FileKind
    columns: Sequence[Column]
    tally: Tally
    about: About


def write_card(facts: Facts) -> str:
    """Give a card in Markdown, under the head that the hub and ``datasets`` read."""
    tally, about = facts.tally, facts.about
    parts = (
        write_head(
            title=about.name,
            license=about.license,
            file=facts.file,
            # For objects of different keys, versions of `datasets` find different features in JSON.
            # Whoever states one of them contradicts what the others find in the file.
            columns=() if facts.kind == "jsonl" and _differ(facts.columns) else facts.columns,
            rows=tally.rows,
            arrow_bytes=tally.arrow_bytes,
            file_bytes=facts.size,
        ),
        _MARK,
        tell_rows(about, tally),
        tell_figures(tally),
        tell_making(about),
        tell_columns(facts.columns),
        tell_example(tally.example),
        tell_loading(facts.file, facts.kind),
    )
    return clean_text("\n\n".join(part for part in parts if part)) + "\n"


def place_card(file: Path) -> Path:
    """Say where the card goes: README.md, but never in the place of what is not a card of ours."""
    return next(
        path
        for path in map(file.with_name, _names(file.stem))
        if not os.path.lexists(path) or _is_ours(path)
    )


def _differ(columns: Sequence[Column]) -> bool:
    return any(column.one_key for column in columns)


def _names(stem: str) -> Iterator[str]:
    yield "README.md"
    yield f"{stem}.README.md"
    for number in itertools.count(2):
        yield f"{stem}.README.{number}.md"


def _is_ours(path: Path) -> bool:
    """Look for our mark right after a head; what cannot be read is foreign."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST_HEAD)
    except (OSError, ValueError):
        return False
    start, _, rest = text.partition("\n---\n")
    return start.startswith("---\n") and rest.lstrip("\n").startswith(_MARK)
