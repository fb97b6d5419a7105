"""The verb ``status``: how far a sweep has come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.progress import describe_time
from dria_magpie.cli.text import printable

if TYPE_CHECKING:
    from dria_magpie.sweep import Status


def status(
    run_dir: Annotated[Path, typer.Argument(help="The run directory of a sweep.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Tell how far a sweep has come, while it goes on or afterwards."""
    from dria_magpie.sweep import RunDir

    now = RunDir(run_dir).status()
    print(json.dumps(now.to_dict(), indent=2) if as_json else _describe(now))


def _describe(now: Status) -> str:
    ended = printable(now.ending) or "not running; it was killed, or could not say how it ended"
    lines = [
        ("sweep", "running" if now.active else ended),
        ("rows", f"{now.rows:,}"),
        ("done", f"{now.done:,}"),
        ("failed", f"{now.failed:,}"),
        *_describe_failures(now),
        ("running" if now.active else "begun", f"{now.begun:,}"),
        ("left", f"{now.left:,}"),
        ("messages", f"{now.turns:,}, {now.cut_off:,} of them cut off at their token cap"),
        ("tokens", f"{now.prompt_tokens:,} of prompts, {now.completion_tokens:,} generated"),
        ("new tokens/s", f"{now.tokens_per_second:,.1f}"),
        ("time", describe_time(now.seconds)),
    ]
    if now.eta_seconds is not None:
        lines.append(("time left", f"about {describe_time(now.eta_seconds)}"))
    if now.active:
        lines.append(("last answer", f"{describe_time(now.quiet_seconds)} ago"))
    return "\n".join(f"{name:<14} {value}" for name, value in lines)


def _describe_failures(now: Status) -> Iterator[tuple[str, str]]:
    for reason, number in now.failed_by_reason.items():
        example = printable(now.examples.get(reason, "")).replace("\n", " ")
        yield f"  {reason}", f"{number:,}, for example: {example:.200}"
