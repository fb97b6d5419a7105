"""What both sides of the measurement of orchestration share. Imports nothing of the project."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Coroutine
from typing import Any

CALLS_AT_ONCE = 200
TURNS = 2
CALLS_A_DIALOGUE = 2 * TURNS
PERSONAS = (
    "A curious scientist who wants to know how things work and never takes the first answer",
    "An AI assistant that explains with examples from daily life, patiently and in few words",
)


def print_cost(run: Coroutine[Any, Any, int], dialogues: int) -> None:
    """Run it, check that it made every call, and print calls a second and CPU ms a call."""
    calls = dialogues * CALLS_A_DIALOGUE
    wall, before = time.perf_counter(), os.times()
    answered = asyncio.run(run)
    seconds, after = time.perf_counter() - wall, os.times()
    if answered != calls:
        raise SystemExit(f"{answered} calls were answered, not {calls}")
    busy = after.user + after.system - before.user - before.system
    print(json.dumps([calls / seconds, busy / calls * 1000]))
