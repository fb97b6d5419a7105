"""What a card tells, section by section, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dria_magpie import __version__
from dria_magpie.sweep.export.columns import Column
from dria_magpie.sweep.export.sinks import FileKind
from dria_magpie.sweep.export.tally import Spread, Tally
from dria_magpie.sweep.export.text import (
    code_block,
    code_span,
    plain_markdown,
    shorten,
)
from dria_magpie.sweep.export.values import About
from dria_magpie.sweep.row import Row

_SAMPLINGS = {
    "sampling": "sampling",
    "instructor_sampling": "sampling of questions",
    "responder_sampling": "sampling of answers",
    "instruction_sampling": "sampling of instructions",
    "response_sampling": "sampling of answers",
}
_WHAT = {
    "dialogue": "Synthetic dialogues between two personas, of which one asks and one answers. "
    "Language models wrote both sides.",
    "self_synthesis": "Synthetic conversations that language models drew from themselves: given "
    "only what opens a user's message in its chat template, a model wrote the message.",
}
_EXAMPLE_MESSAGES = 4
_EXAMPLE_CHARACTERS = 400


def tell_rows(about: About, tally: Tally) -> str:
    """Say what the data is, and how many of the planned dialogues are in it."""
    return (
        f"# {plain_markdown(about.name)}\n\n"
        f"{_WHAT[about.kind]} They were made with dria-magpie {__version__}.\n\n"
        f"- {tally.rows:,} dialogues of {about.planned:,} that were planned\n"
        f"- {about.failed:,} failed for good and are left out"
    )


def tell_figures(tally: Tally) -> str:
    """Say which models wrote, and how much."""
    if not tally.rows:
        return ""
    models = [f"- {code_span(name)}: {rows:,} rows" for name, rows in tally.models.most_common()]
    share = tally.cut_off / (tally.messages.total or 1)
    cut_off = f"{tally.cut_off:,} of {tally.messages.total:,} messages ({share:.1%}) were cut off"
    return "\n".join(
        [
            "## Figures",
            "",
            *models,
            "",
            "| a row | total | mean | min | max |",
            "| --- | ---: | ---: | ---: | ---: |",
            _tell_spread("messages", tally.messages, tally.rows),
            _tell_spread("prompt tokens", tally.prompt_tokens, tally.rows),
            _tell_spread("completion tokens", tally.completion_tokens, tally.rows),
            "",
            f"{cut_off}; their finish reason is `length`.",
        ]
    )


def tell_making(about: About) -> str:
    """Show the sampling and the recipe."""
    recipe = json.dumps(dict(about.recipe), ensure_ascii=False, indent=2)
    return "\n".join(
        [
            "## How it was made",
            "",
            *_tell_sampling(about.recipe),
            "",
            "The recipe:",
            "",
            code_block(recipe, "json"),
        ]
    )


def tell_columns(columns: Sequence[Column]) -> str:
    """Explain each column."""
    rows = [f"| `{c.name}` | {_tell_type(c)} | {c.told} |" for c in columns]
    return "\n".join(
        ["## Columns", "", "| column | type | what it holds |", "| --- | --- | --- |", *rows]
    )


def tell_example(row: Row | None) -> str:
    """Show the beginning of a dialogue, or nothing if there is none."""
    if row is None:
        return ""
    shown = row.messages[:_EXAMPLE_MESSAGES]
    told = [
        *((name.replace("_", " "), text) for name, text in row.origin.items() if text),
        *((message.role, message.content.strip()) for message in shown),
    ]
    texts = [f"{who}: {shorten(text, _EXAMPLE_CHARACTERS)}" for who, text in told]
    title = "## Example\n\nThe beginning of the first dialogue:\n\n"
    return title + code_block("\n\n".join(texts), "text")


def tell_loading(file: str, kind: FileKind) -> str:
    """Show how to read the file."""
    reader = "parquet" if kind == "parquet" else "json"
    code = (
        "from datasets import load_dataset\n\n"
        f'dataset = load_dataset("{reader}", data_files={json.dumps(file)}, split="train")'
    )
    return f"## How to load it\n\n{code_block(code, 'python')}"


def _tell_spread(name: str, spread: Spread, rows: int) -> str:
    mean = spread.total / rows
    return f"| {name} | {spread.total:,} | {mean:,.1f} | {spread.least:,} | {spread.most:,} |"


def _tell_sampling(recipe: Mapping[str, Any]) -> list[str]:
    """List what the recipe says for both personas, and for one of them."""
    chosen = [
        f"- {told}: {', '.join(_tell_values(recipe[name]))}"
        for name, told in _SAMPLINGS.items()
        if isinstance(recipe.get(name), Mapping) and recipe[name]
    ]
    return chosen or ["The recipe leaves the sampling to the engine."]


def _tell_values(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield code_span(f"{name} = {json.dumps(value, ensure_ascii=False)}")


def _tell_type(column: Column) -> str:
    if column.fields:
        return "list of objects"
    return f"list of `{column.dtype}`" if column.many else f"`{column.dtype}`"
