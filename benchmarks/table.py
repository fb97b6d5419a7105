"""One table for all measurements, with the goals and whether they were met."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("dria-magpie", "aiohttp", "pydantic", "xllamacpp")
HEAD = ("what", "this project", "bare", "ratio", "goal", "met")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement.

    Attributes:
        what: what was measured, with its unit.
        ours: the project's figure.
        bare: the figure without the project; None where there is nothing to compare with.
        goal: the limit for `ours` in relation to `bare`; for `ours` itself without `bare`.
        most: the goal is the most that is allowed, not the least.
        digits: digits after the point.
    """

    what: str
    ours: float
    bare: float | None = None
    goal: float | None = None
    most: bool = False
    digits: int = 2

    @property
    def ratio(self) -> float | None:
        """The project's figure in relation to the bare one."""
        return self.ours / self.bare if self.bare else None

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None without a goal."""
        if self.goal is None:
            return None
        value = self.ours if self.ratio is None else self.ratio
        return value <= self.goal if self.most else value >= self.goal

    def cells(self) -> tuple[str, ...]:
        """Give the row of the table."""
        goal = "" if self.goal is None else f"{'<=' if self.most else '>='} {self.goal:g}"
        return (
            self.what,
            f"{self.ours:,.{self.digits}f}",
            "" if self.bare is None else f"{self.bare:,.{self.digits}f}",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            goal,
            {None: "", True: "yes", False: "missed"}[self.met],
        )


def print_table(figures: Iterable[Figure]) -> None:
    """Print figures as a Markdown table."""
    rows = [HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, _line(["-" * width for width in widths], widths))
    print("\n".join(lines), flush=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def machine() -> str:
    """Say what the figures were measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    system = f"{platform.system()} {platform.machine()}"
    parts = [f"Python {platform.python_version()}", system, f"{cores} cores", load]
    return ", ".join(filter(None, [*parts, *filter(None, map(_version, PACKAGES))]))


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def say(text: str) -> None:
    """Tell how it goes on, on stderr: stdout is for the table."""
    print(text, file=sys.stderr, flush=True)
