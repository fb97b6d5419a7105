"""The verb ``sweep``: a recipe in, a run directory full of dialogues out."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.connection import open_connection
from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.progress import describe, showing_progress
from dria_magpie.cli.text import printable
from dria_magpie.errors import InvalidInputError

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.sweep import Sweep


def sweep(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file.")],
    run_dir: Annotated[Path, typer.Option("-o", "--output", help="The run directory.")],
    endpoint: Annotated[
        str | None, typer.Option(help="URL of an OpenAI-compatible endpoint.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(help="Variable with the endpoint's key.", show_default="DRIA_API_KEY"),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="URL of a network of nodes; not in this version.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Dialogues at once.", show_default="64; embedded: 4"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Take up the rows again that failed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make a few rows, and print the plan.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: JSON.")] = False,
) -> None:
    """Make a batch of dialogues. The same command again goes on where it ended."""
    from dria_magpie.sweep import Sweep

    made = Sweep.from_recipe(recipe, run_dir)
    connection = open_connection(
        models=[model.name for model in made.plan.recipe.models],
        endpoint=endpoint,
        network=network,
        api_key_env=api_key_env,
        concurrency=concurrency,
    )
    if dry_run and retry_failed:
        raise InvalidInputError("give --dry-run or --retry-failed, not both")
    if dry_run:
        from dria_magpie.cli.forecast import print_forecast

        print_forecast(made, connection.client, as_json=as_json)
        return
    raise typer.Exit(_make(made, connection.client, retry_failed=retry_failed))


def _make(made: Sweep, client: Dria, *, retry_failed: bool) -> int:
    """Make the sweep and give the exit code."""
    try:
        interrupted = asyncio.run(_run(made, client, retry_failed=retry_failed))
    except (KeyboardInterrupt, asyncio.CancelledError):
        interrupted = True
    _tell_end(made)
    if interrupted:
        return 130
    ending = made.ending
    over = ending is not None and ending.kind in {"complete", "limit"}
    return 0 if over and not made.run_dir.status().failed else 1


async def _run(made: Sweep, client: Dria, *, retry_failed: bool) -> bool:
    """Make the sweep; tell whether it was interrupted."""

    def stop() -> bool:
        running = made.stop()
        if running:
            _say(f"interrupted: {running} rows finish the call that they are at; Ctrl-C leaves now")
        return bool(running)

    with Interrupts(stop) as interrupts:
        async with client, showing_progress(made.progress):
            await _exhaust(made.run(client, retry_failed=retry_failed))
    return interrupts.caught


async def _exhaust(rows: AsyncGenerator[object, None]) -> None:
    async with aclosing(rows):
        async for _ in rows:
            pass


def _tell_end(made: Sweep) -> None:
    if made.ending is None:
        return
    status = made.run_dir.status()
    _say(printable(describe(status)))
    if made.ending.reason:
        _say(printable(str(made.ending)))
    if status.failed:
        _say("the same command with --retry-failed takes the failed rows up again")
    if status.left:
        _say("the same command goes on with the rest")
    else:
        run_dir = shlex.quote(str(made.run_dir.path))
        _say(f"dria-magpie export {run_dir} --format messages --to jsonl -o FILE.jsonl")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
