"""What it takes to begin: seconds over the bare interpreter's start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.table import Figure, say

STARTS = 11
BARE = [sys.executable, "-c", "pass"]
COMMANDS = {
    "`dria-magpie --help`": ([str(Path(sys.executable).with_name("dria-magpie")), "--help"], 0.2),
    "`import dria_magpie`": ([sys.executable, "-c", "import dria_magpie"], 0.15),
    "`from dria_magpie import Dria`": (
        [sys.executable, "-c", "from dria_magpie import Dria"],
        0.35,
    ),
}


def measure() -> list[Figure]:
    """Start each command and the bare interpreter by turns; give the differences of the medians."""
    with tempfile.TemporaryDirectory() as cache:
        # With bytecode, as pip leaves an installed package
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return [_measure(what, *command, environment) for what, command in COMMANDS.items()]


def _measure(what: str, command: list[str], most: float, environment: dict[str, str]) -> Figure:
    _seconds(command, environment)
    pairs = [(_seconds(command, environment), _seconds(BARE, environment)) for _ in range(STARTS)]
    over = median(ours for ours, _ in pairs) - median(bare for _, bare in pairs)
    say(f"startup {what}: {over:.3f} s")
    return Figure(what=f"seconds: {what}", ours=over, goal=most, most=True, digits=3)


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
