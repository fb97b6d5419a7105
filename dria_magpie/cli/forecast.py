"""``sweep --dry-run``: the plan, and what it will cost."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import typer

from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.progress import describe_time, showing_progress

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.sweep import Sweep
    from dria_magpie.sweep.forecast import Forecast
    from dria_magpie.sweep.recipe import Limits


def print_forecast(made: Sweep, client: Dria, *, as_json: bool) -> None:
    """Make a few rows of a sweep, and print what all of it will cost."""
    try:
        result = asyncio.run(_forecast(made, client))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; the rows that were made are kept", file=sys.stderr)
        raise typer.Exit(130) from None
    limits = made.plan.recipe.limits
    print(json.dumps(result.to_dict(), indent=2) if as_json else _describe(result, limits))


async def _forecast(made: Sweep, client: Dria) -> Forecast:
    with Interrupts(lambda: False):
        async with client, showing_progress(made.progress):
            return await made.forecast(client)


def _describe(result: Forecast, limits: Limits) -> str:
    tokens = result.prompt_tokens + result.completion_tokens
    lines = [
        ("rows", f"{result.rows:,}"),
        ("calls", f"{result.calls:,}"),
        ("tokens", f"about {result.prompt_tokens:,} of prompts, {result.completion_tokens:,} new"),
        ("time", f"about {describe_time(result.seconds)}, {result.concurrency} dialogues at once"),
        ("estimated", f"from {result.sampled} rows, which are made and kept"),
    ]
    for name, needed in (("rows", result.rows), ("tokens", tokens), ("seconds", result.seconds)):
        most = getattr(limits, name)
        if most is not None and most < needed:
            lines.append(("limit", f"limits.{name} will stop it before its end"))
    return "\n".join(f"{name:<12} {value}" for name, value in lines)
