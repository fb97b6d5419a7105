"""Endpoints that refuse, break and come back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.acceptance.sweep_bench import (
    ASKED,
    Bench,
    check_told,
    check_whole,
    count_repeated,
    start_and_hold,
)

OUTAGE = "rows failed, and none succeeded meanwhile; the last: "


@pytest.mark.parametrize("refused", [{"every": 3}, {"share": 1 / 3, "draw": 5}])
def test_an_endpoint_that_refuses_a_third_of_the_calls_fails_no_row(
    bench: Bench, refused: dict[str, Any]
) -> None:
    bench.write(rows=200, turns=[1, 2])
    bench.endpoint.behave(status=429, **refused)
    started = time.monotonic()
    running = bench.start("--concurrency", "32")
    assert running.wait() == 0, running.stderr
    calls = bench.endpoint.calls()
    print(
        f"{len(calls) / bench.calls_needed:.2f} calls for one that is needed, "
        f"{time.monotonic() - started:.1f} s, "
        f"{bench.query('SELECT count(*) FROM rows WHERE attempts > 1')[0][0]} rows taken up again"
    )
    check_whole(bench)
    assert len(calls) <= 1.6 * bench.calls_needed
    assert count_repeated(bench) == 0


def test_a_sweep_ends_by_itself_when_its_endpoint_dies_and_goes_on_when_it_is_back(
    bench: Bench,
) -> None:
    bench.place += ["--patience", "0"]
    # As many rows as calls at once, so that none begins when others have given up already.
    running = start_and_hold(bench, free=24, running=24, rows=24, turns=2, retries=0)
    kept = bench.kept()
    assert len(kept) == 24
    started = time.monotonic()
    bench.endpoint.go_down()
    assert running.wait() == 1
    print(f"it ended after {time.monotonic() - started:.1f} s")
    check_told(running.stderr, "outage: ", OUTAGE, bench.endpoint.url)
    assert bench.kept() == kept
    assert bench.count_rows()["failed"] == 0
    bench.endpoint.come_back()
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


@pytest.mark.parametrize("status", [401, 402, 404])
def test_an_endpoint_that_begins_to_let_nobody_in_ends_the_sweep(bench: Bench, status: int) -> None:
    bench.write(rows=60, turns=[1, 2])
    bench.endpoint.behave(free=30, status=status)
    done = bench.sweep("--concurrency", "4")
    assert done.returncode == 1
    check_told(done.stderr, "halted: ", OUTAGE, str(status))
    assert len(bench.endpoint.calls()) < 30 + 2 * 24
    assert bench.count_rows()["failed"] == 0
    assert bench.count_turns() == 30
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


@pytest.mark.parametrize("status", [400, 403])
def test_prompts_that_are_refused_once_something_worked_fail_their_rows_alone(
    bench: Bench, status: int
) -> None:
    bench.write(rows=60, turns=[1, 2])
    bench.endpoint.behave(free=30, status=status)
    done = bench.sweep("--concurrency", "4")
    assert done.returncode == 1
    check_told(done.stderr, "60 of 60 rows", "--retry-failed")
    assert "halted" not in done.stderr
    rows = bench.count_rows()
    assert rows["done"] + rows["failed"] == 60
    assert bench.count_turns() == 30
    assert len(bench.endpoint.calls()) == 30 + rows["failed"]
    bench.endpoint.behave()
    assert bench.sweep("--retry-failed").returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


def test_an_outage_ends_a_sweep_though_a_row_waits_for_its_next_attempt(bench: Bench) -> None:
    bench.write(**ASKED | {"instructors": [f"Asker {number}." for number in range(60)]})
    bench.endpoint.behave(status=429, retry_after=30, containing="Asker 3.")
    running = bench.start("--concurrency", "4")
    running.wait_until(lambda: any(call.ended == "429" for call in bench.endpoint.calls()))
    bench.endpoint.behave(status=404)
    assert running.process.wait(4) == 1
    check_told(running.stderr, f"halted: 20 {OUTAGE}")
    assert bench.count_rows()["failed"] == 0
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)


def test_an_endpoint_that_lets_nobody_in_ends_the_sweep_at_once(bench: Bench) -> None:
    bench.write(rows=60)
    bench.endpoint.behave(status=401)
    done = bench.sweep("--concurrency", "8")
    assert done.returncode == 1
    check_told(done.stderr, "halted: ", "401", "DRIA_API_KEY", "the same command goes on")
    assert len(bench.endpoint.calls()) <= 16
    assert bench.count_rows()["failed"] == 0
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)


def test_an_endpoint_that_is_not_there_is_told_of(bench: Bench) -> None:
    bench.write(rows=60)
    bench.place = ["--endpoint", "http://127.0.0.1:9/v1"]
    done = bench.sweep()
    assert done.returncode == 1
    check_told(done.stderr, "http://127.0.0.1:9/v1 cannot be reached", "is the server running?")


def test_a_row_that_is_refused_fails_alone_and_is_taken_up_again_when_told_so(
    bench: Bench,
) -> None:
    bench.write(**ASKED)
    bench.endpoint.behave(status=400, containing="Asker 3.")
    done = bench.sweep("--concurrency", "2")
    assert done.returncode == 1
    check_told(done.stderr, "1 failed (EndpointError 400: 1)", "--retry-failed")
    assert bench.count_rows() == {"done": 19, "failed": 1}
    now = bench.status()
    assert (now["failed"], now["failed_by_reason"]) == (1, {"EndpointError 400": 1})
    text = [line.split() for line in bench.ask("status").stdout.splitlines()]
    assert ["EndpointError", "400", "1,"] in [words[:3] for words in text]
    [(origin, error)] = bench.query("SELECT origin, error FROM rows WHERE status = 'failed'")
    assert json.loads(origin)["instructor_persona"] == "Asker 3."
    check_told(error, "400", "the mock endpoint refuses this")
    assert len(bench.export()) == 19

    bench.endpoint.behave()
    made = len(bench.endpoint.calls())
    assert bench.sweep().returncode == 1
    assert len(bench.endpoint.calls()) == made
    assert bench.sweep("--retry-failed").returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0
