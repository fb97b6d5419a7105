"""Waiting for an endpoint that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dria_magpie import Dria, EndpointError, Node, Sweep
from dria_magpie.cli import making
from dria_magpie.testing import ScriptedEngine

RECIPE = {"personas": ["A nurse", "A baker"], "rows": 60, "turns": 1, "retries": 0}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(making, "_LONGEST_WAIT", 0.02)


async def make(run_dir: Path, answer: Callable[[Any], Any], patience: float) -> tuple[Sweep, int]:
    sweep = Sweep.from_recipe(RECIPE, run_dir)
    client = Dria(nodes=[Node(ScriptedEngine(answer, slots=2))])
    code = await asyncio.to_thread(
        making.make, sweep, client, retry_failed=False, patience=patience
    )
    return sweep, code


async def test_a_sweep_goes_on_when_its_endpoint_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, told = 0, []
    monkeypatch.setattr(making, "say", told.append)

    def answer(_: Any) -> Any:
        nonlocal answered
        tries = sum("the next try is in" in text for text in told)
        if answered >= 10 and tries < 3:
            return EndpointError("gone", 503)
        answered += 1
        return "Fine."

    sweep, code = await make(tmp_path, answer, patience=60)
    assert code == 0
    assert sweep.run_dir.status().done == 60
    assert answered == 120


async def test_patience_ends(tmp_path: Path) -> None:
    calls = 0

    def answer(_: Any) -> Any:
        nonlocal calls
        calls += 1
        return EndpointError("gone", 503) if calls >= 10 else "Fine."

    sweep, code = await make(tmp_path, answer, patience=0.05)
    assert code == 1
    status = sweep.run_dir.status()
    assert (status.failed, status.ending[:7]) == (0, "outage:")
    assert calls > 9 + 20


async def test_nobody_waits_for_an_endpoint_that_never_answered(tmp_path: Path) -> None:
    calls = 0

    def answer(_: Any) -> Any:
        nonlocal calls
        calls += 1
        return EndpointError("gone", 503)

    sweep, code = await make(tmp_path, answer, patience=60)
    assert (code, calls <= 22) == (1, True)
    assert sweep.run_dir.status().ending.startswith("halted:")
