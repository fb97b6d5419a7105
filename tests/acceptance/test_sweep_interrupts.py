"""Sweeps that are interrupted: they end in good order, or at once."""

from __future__ import annotations

import signal
import time

import pytest

from tests.acceptance.sweep_bench import (
    Bench,
    check_told,
    check_whole,
    count_repeated,
    start_and_hold,
)

UNDER_WAY = "interrupted: 8 rows finish the call that they are at, and are kept; "


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_calls_under_way_and_begins_none(
    bench: Bench, kind: signal.Signals
) -> None:
    running = start_and_hold(bench, free=20, running=8)
    running.send(kind)
    running.wait_until(lambda: UNDER_WAY in running.stderr)
    bench.endpoint.release()
    assert running.wait() == 130
    check_told(running.stderr, "the same command goes on with the rest", "stopped: ")
    calls = bench.endpoint.calls()
    assert len(calls) == 28
    assert {call.seed for call in calls} == set(bench.kept().values())
    assert bench.status()["ending"].startswith("stopped")
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert len(bench.endpoint.calls()) == bench.calls_needed


def test_a_second_interrupt_leaves_at_once_and_keeps_what_was_finished(bench: Bench) -> None:
    running = start_and_hold(bench, free=20, running=8)
    running.send(signal.SIGINT)
    running.wait_until(lambda: UNDER_WAY in running.stderr)
    kept = bench.kept()
    assert len(kept) == 20
    started = time.monotonic()
    running.send(signal.SIGINT)
    assert running.wait() == 130
    assert time.monotonic() - started < 2.5
    check_told(running.stderr)
    assert bench.kept() == kept
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


def test_an_interrupt_does_not_wait_for_an_endpoint_that_refuses_everything(bench: Bench) -> None:
    bench.write(rows=30)
    bench.endpoint.behave(free=10, status=429, retry_after=30)
    running = bench.start("--concurrency", "8")
    bench.endpoint.wait_for_calls(18)
    running.wait_until(lambda: bench.count_turns() == 10)
    started = time.monotonic()
    running.send(signal.SIGINT)
    assert running.wait() == 130
    assert time.monotonic() - started < 2.5
    check_told(running.stderr, "interrupted")
    assert bench.count_rows()["failed"] == 0
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


def test_an_interrupted_dry_run_says_so(bench: Bench) -> None:
    bench.write(rows=60)
    bench.endpoint.behave(hold=True)
    running = bench.start("--dry-run", "--concurrency", "2")
    bench.endpoint.wait_for_calls(2)
    running.send(signal.SIGINT)
    assert running.wait() == 130
    check_told(running.stderr, "interrupted")
