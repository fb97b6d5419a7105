"""How a sweep goes on, shown on stderr: live on a terminal, else a line every few seconds."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from dria_magpie.cli.text import printable

if TYPE_CHECKING:
    from dria_magpie.sweep import Status

_LINE_EVERY = 5.0
_LONGEST = 60.0
_FRAME_EVERY = 0.25
_QUIET = 15.0


@asynccontextmanager
async def showing_progress(status: Callable[[], Status | None]) -> AsyncIterator[None]:
    """Show progress while the body runs.

    Args:
        status: gives how far the sweep has come; None before it has begun.
    """
    show = _show_live if sys.stderr.isatty() else _show_lines
    shower = asyncio.create_task(show(status))
    try:
        yield
    finally:
        shower.cancel()
        # A terminal that is gone takes no progress, which is no reason to end the sweep.
        with suppress(asyncio.CancelledError, OSError):
            await shower


async def _show_lines(status: Callable[[], Status | None]) -> None:
    wait = _LINE_EVERY
    while True:
        await asyncio.sleep(wait)
        # A log of a whole night is read by people, too.
        wait = min(wait * 1.1, _LONGEST)
        now = status()
        if now:
            print(time.strftime("%H:%M:%S"), describe(now), file=sys.stderr, flush=True)


async def _show_live(status: Callable[[], Status | None]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            now = status()
            line = describe(now) if now else "starting ..."
            live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
            await asyncio.sleep(_FRAME_EVERY)


def describe(status: Status) -> str:
    """Say in one line how far a sweep has come, what matters most first."""
    parts = [f"{status.done + status.failed:,} of {status.rows:,} rows"]
    if status.active:
        left = "?" if status.eta_seconds is None else describe_time(status.eta_seconds)
        parts.append(f"{left} left")
        if status.quiet_seconds > _QUIET:
            parts.append(f"no answer for {describe_time(status.quiet_seconds)}")
    if status.failed:
        parts.append(f"{status.failed:,} failed ({describe_reasons(status)})")
    if status.active:
        parts.append(f"{status.running:,} running")
        parts.append(f"{status.tokens_per_second:,.0f} new tokens/s")
    parts.append(f"{status.prompt_tokens:,} + {status.completion_tokens:,} tokens")
    return printable(", ".join(parts))


def describe_reasons(status: Status) -> str:
    """Say why rows failed, the most frequent reason first."""
    ordered = sorted(status.failed_by_reason.items(), key=lambda item: -item[1])
    return ", ".join(f"{reason}: {number:,}" for reason, number in ordered)


def describe_time(seconds: float) -> str:
    """Say a time as people do: 40 s, 12 min, 3 h 5 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
