"""Making a sweep: interrupts, progress, waiting for an endpoint that has gone, the end."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.progress import describe, describe_time, showing_progress
from dria_magpie.cli.text import say

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.sweep import Status, Sweep
    from dria_magpie.sweep.plan import Plan

_FIRST_WAIT = 15.0
_LONGEST_WAIT = 120.0
_OVER = {"complete", "limit"}


def make(made: Sweep, client: Dria, *, retry_failed: bool, patience: float) -> int:
    """Make a sweep and give the exit code.

    Args:
        made: the sweep.
        client: runs it.
        retry_failed: take up failed rows, too.
        patience: seconds to wait for an endpoint that has gone.
    """
    try:
        interrupted = asyncio.run(_make(made, client, retry_failed, patience))
    except (KeyboardInterrupt, asyncio.CancelledError):
        interrupted = True
    if made.ending is None:
        return 130 if interrupted else 1
    status = made.run_dir.status()
    _tell_end(made, status)
    if interrupted:
        return 130
    return 0 if made.ending.kind in _OVER and not status.failed else 1


async def _make(made: Sweep, client: Dria, retry_failed: bool, patience: float) -> bool:
    """Make the sweep; tell whether it was interrupted."""

    def stop() -> bool:
        running = made.stop()
        if running:
            say(
                f"interrupted: {running} rows finish the call that they are at, and are kept; "
                "press Ctrl-C again to leave at once"
            )
        return bool(running)

    with Interrupts(stop) as interrupts:
        async with client, showing_progress(made.progress):
            await _exhaust(made.run(client, retry_failed=retry_failed))
            await _wait_out_outages(made, client, patience)
    return interrupts.caught


async def _exhaust(rows: AsyncGenerator[object, None]) -> None:
    async with aclosing(rows):
        async for _ in rows:
            pass


async def _wait_out_outages(made: Sweep, client: Dria, patience: float) -> None:
    """Go on with a sweep whose endpoint has gone, as long as it comes back in time."""
    from dria_magpie.errors import EndpointError

    turns, since, wait = -1, 0.0, _FIRST_WAIT
    gone = _is_gone(made)
    while gone:
        known, turns = turns, made.run_dir.status().turns
        if turns > known:
            since, wait = time.monotonic(), _FIRST_WAIT
        if time.monotonic() + wait > since + patience:
            return
        say(f"{made.ending}; the next try is in {describe_time(wait)}")
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)
        try:
            await _exhaust(made.run(client))
            gone = _is_gone(made)
        except EndpointError:
            gone = True  # `ending` says why


def _is_gone(made: Sweep) -> bool:
    return made.ending is not None and made.ending.kind == "outage"


def _tell_end(made: Sweep, status: Status) -> None:
    say(describe(status))
    if made.ending and made.ending.reason:
        say(str(made.ending))
    for reason, example in status.examples.items():
        say(f"{reason}, for example: {example:.300}")
    if status.cut_off:
        of = f"{status.cut_off:,} of {status.turns:,} messages were cut off at their token cap"
        say(f"note: {of}; max_tokens in [sampling] raises it")
    if status.failed:
        say("the same command with --retry-failed takes the failed rows up again")
    if status.left:
        mended = "once that is mended, " if made.ending and made.ending.kind == "halted" else ""
        say(f"{mended}the same command goes on with the rest")
    else:
        run_dir = shlex.quote(str(made.run_dir.path))
        say(f"dria-magpie export {run_dir} --format messages --to jsonl -o FILE.jsonl")


def describe_plan(plan: Plan) -> str:
    """Say what a plan is made of, so that a mistake is seen before it is paid for."""
    low, high = plan.recipe.turns
    turns = f"{low}" if low == high else f"{low} to {high}"
    models = ", ".join(model.name for model in plan.recipe.models) or "whatever is served"
    return f"{len(plan):,} rows of {plan.material}, {turns} turns; models: {models}"
