"""The verb ``export``: a run directory in, a dataset out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dria_magpie.cli.text import say


class Format(StrEnum):
    """How a dialogue is written."""

    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    DIALOGUE = "dialogue"


class Kind(StrEnum):
    """Kinds of files."""

    JSONL = "jsonl"
    PARQUET = "parquet"


def export(
    run_dir: Annotated[Path, typer.Argument(help="The run directory of a sweep.")],
    file: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option(help="OpenAI's and TRL's, ShareGPT's, or Dria's.")
    ] = Format.MESSAGES,
    to: Annotated[
        Kind | None, typer.Option(help="Kind of file.", show_default="by FILE's ending")
    ] = None,
    license: Annotated[  # noqa: A002 - the option's name
        str, typer.Option(help="The card's licence, as the Hugging Face Hub names it.")
    ] = "unknown",
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="REPO", help="Also upload it, as a private dataset.")
    ] = None,
) -> None:
    """Write the rows that are done, with a dataset card, also while the sweep goes on."""
    from dria_magpie.sweep import RunDir

    written = RunDir(run_dir).export(
        file, format=format.value, kind=to.value if to else None, license=license
    )
    if written.cut_off:
        say(f"note: {written.cut_off:,} messages were cut off at their token cap; see the card")
    say(f"{written.rows:,} rows in {written.file}, described in {written.card}")
    if push_to_hub is not None:
        from dria_magpie.sweep.export import push

        say(f"uploaded to {push(written, push_to_hub)}")
