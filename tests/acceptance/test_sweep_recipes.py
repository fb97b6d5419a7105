"""What a recipe says: changes, models, limits; and what a sweep tells of itself."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.acceptance.mock_endpoint import COMPLETION_TOKENS
from tests.acceptance.sweep_bench import (
    ASKED,
    HALF,
    PERSONAS,
    TOKENS,
    Bench,
    check_told,
    check_whole,
    count_repeated,
    start_and_hold,
)

# --- recipes that change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sampling": {"temperature": 0.9}}, "belongs to another recipe (sampling)"),
        ({"seed": 8}, "belongs to another recipe (seed)"),
        ({"turns": 2}, "belongs to another recipe (turns)"),
        ({"personas": PERSONAS[:21]}, "belongs to another recipe (its personas)"),
        ({"rows": 30}, "was planned with 40 rows, and now with 30"),
        ({"turnz": 1}, "turnz: unknown key; did you mean turns?"),
        ({"sampling": {"temprature": 0.5}}, "temprature"),
        ({"personas": {"file": "nowhere.txt"}}, "nowhere.txt"),
        ({"personas": {"file": "latin.txt"}}, "latin.txt is not UTF-8 text"),
        ({"personas": {"file": "."}}, "personas come from .txt"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_recipe_that_cannot_go_on_is_refused_before_any_call(
    half_bench: Bench, change: dict[str, Any], told: str
) -> None:
    (half_bench.folder / "latin.txt").write_bytes("Ein Käser\n".encode("latin-1"))
    before = half_bench.query("SELECT * FROM rows"), half_bench.kept()
    half_bench.write(**HALF | change)
    done = half_bench.sweep()
    assert done.returncode == 2
    check_told(done.stderr, told)
    assert half_bench.endpoint.calls() == []
    assert (half_bench.query("SELECT * FROM rows"), half_bench.kept()) == before
    half_bench.write(**HALF)
    done = half_bench.sweep()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [(), ("--concurrency", "3")])
def test_rows_may_grow_and_only_new_ones_are_made(
    half_bench: Bench, options: tuple[str, ...]
) -> None:
    half_bench.write(**HALF | {"rows": 60}, limits={"tokens": 10**6, "rows": 10**6})
    before = half_bench.query("SELECT * FROM rows WHERE status = 'done'")
    kept = half_bench.kept()
    assert len(before) == 20
    assert half_bench.sweep(*options).returncode == 0
    check_whole(half_bench)
    assert half_bench.query("SELECT * FROM rows ORDER BY number LIMIT 20") == before
    seeds = [call.seed for call in half_bench.endpoint.calls()]
    assert set(kept.values()).isdisjoint(seeds)
    assert len(seeds) == half_bench.calls_needed - len(kept)


# --- models


def test_rows_are_shared_out_among_models_by_weight(bench: Bench) -> None:
    models = [{"name": "small", "weight": 3}, {"name": "large", "weight": 1}]
    bench.write(rows=80, turns=[1, 2], models=models)
    assert bench.sweep().returncode == 0
    check_whole(bench)
    plan, records, kept = bench.plan, bench.export(), bench.kept()
    assert [record["model"] for record in records] == [row.model for row in plan]
    asked = {call.seed: call.model for call in bench.endpoint.calls()}
    assert all(asked[seed] == plan[number].model for (number, _), seed in kept.items())
    assert all(
        message["content"].startswith(record["model"])
        for record in records
        for message in record["messages"]
    )
    assert 0.6 < sum(record["model"] == "small" for record in records) / 80 < 0.9


# --- limits


def check_limited(bench: Bench, told: str, *, running: int) -> None:
    """Run into a limit of the recipe, then go on without it; no call may be made twice."""
    done = bench.sweep("--concurrency", str(running))
    assert done.returncode == 0, done.stderr
    check_told(done.stderr, f"limit: {told} is used up", "the same command goes on with the rest")
    status, calls = bench.status(), bench.endpoint.calls()
    assert status["ending"] == f"limit: {told} is used up"
    assert {call.seed for call in calls if call.answered} == set(bench.kept().values())
    # The limit is still there.
    assert bench.sweep().returncode == 0
    assert len(bench.endpoint.calls()) == len(calls)


def test_a_limit_of_rows_ends_a_sweep_after_exactly_so_many(bench: Bench) -> None:
    bench.write(rows=40, turns=[1, 2], limits={"rows": 10})
    check_limited(bench, "limits.rows = 10", running=8)
    assert bench.count_rows() == {"done": 10}
    bench.write(rows=40, turns=[1, 2], limits={"rows": 100})
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert len(bench.endpoint.calls()) == bench.calls_needed


def test_a_limit_of_tokens_is_passed_by_no_more_than_the_calls_under_way(bench: Bench) -> None:
    bench.write(rows=40, turns=[1, 2], limits={"tokens": 20 * TOKENS})
    check_limited(bench, f"limits.tokens = {20 * TOKENS:,}", running=8)
    assert 20 <= bench.count_turns() < 20 + 8
    bench.write(rows=40, turns=[1, 2])
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert len(bench.endpoint.calls()) == bench.calls_needed


def test_a_limit_of_seconds_does_not_wait_for_slow_calls(bench: Bench) -> None:
    started = time.monotonic()
    running = start_and_hold(bench, free=20, running=8, limits={"seconds": 1.5})
    assert running.wait() == 0
    assert time.monotonic() - started < 6
    check_told(running.stderr, "limit: limits.seconds = 1.5 is used up")
    assert bench.count_turns() == 20
    assert bench.count_rows()["failed"] == 0
    bench.write(rows=30, turns=[1, 2], limits={"seconds": 600})
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


def test_a_limit_does_not_wait_for_calls_that_were_refused(bench: Bench) -> None:
    bench.write(**ASKED, limits={"tokens": 20 * TOKENS})
    bench.endpoint.behave(status=429, retry_after=30, containing="Asker 3.")
    running = bench.start("--concurrency", "4")
    running.wait_until(lambda: any(call.ended == "429" for call in bench.endpoint.calls()))
    running.wait_until(lambda: bench.count_turns() >= 20)
    assert running.process.wait(4) == 0
    check_told(running.stderr, "limit: limits.tokens = 300 is used up")
    assert bench.count_rows()["failed"] == 0
    bench.write(**ASKED)
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


# --- status


def test_status_tells_from_outside_how_far_a_sweep_has_come(bench: Bench) -> None:
    running = start_and_hold(bench, free=20, running=8)
    rows = bench.count_rows()
    now = bench.status()
    assert (now["active"], now["ending"], now["rows"]) == (True, "", 30)
    assert (now["turns"], now["done"], now["running"]) == (20, rows["done"], 8)
    assert now["left"] == 30 - rows["done"]
    assert (now["prompt_tokens"], now["completion_tokens"]) == (200, 100)
    text = bench.ask("status").stdout
    assert text.splitlines()[0].split() == ["sweep", "running"]

    running.kill()
    now = bench.status()
    assert (now["active"], now["ending"]) == (False, "")
    assert (now["turns"], now["done"], now["failed"]) == (20, rows["done"], 0)
    killed = "not running; it was killed, or could not say how it ended"
    assert killed in bench.ask("status").stdout

    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    now = bench.status()
    assert (now["active"], now["ending"], now["left"]) == (False, "complete", 0)
    assert (now["done"], now["turns"]) == (30, bench.calls_needed)
    assert now["prompt_tokens"] + now["completion_tokens"] == TOKENS * bench.calls_needed
    assert "complete" in bench.ask("status").stdout


def test_status_and_export_tell_of_a_directory_without_a_sweep(bench: Bench) -> None:
    bench.run_dir.mkdir()
    for done in (bench.ask("status"), bench.ask("export", "-o", str(bench.folder / "x.jsonl"))):
        assert done.returncode == 1
        assert done.stdout == ""
        check_told(done.stderr, f"{bench.run_dir} has no sweep")
    assert list(bench.run_dir.iterdir()) == []


def test_status_of_a_sweep_that_was_killed_before_it_began(bench: Bench) -> None:
    bench.run_dir.mkdir()
    bench.store.touch()
    done = bench.ask("status")
    assert done.returncode == 1
    check_told(done.stderr, "has no sweep")


# --- dry runs


@pytest.mark.parametrize("as_json", [True, False])
def test_a_dry_run_tells_the_plan_and_its_rows_are_kept(bench: Bench, as_json: bool) -> None:
    bench.write(rows=60, turns=[1, 3])
    needed = bench.calls_needed
    done = bench.sweep("--dry-run", "--concurrency", "8", *(["--json"] if as_json else []))
    assert done.returncode == 0, done.stderr
    if as_json:
        told = json.loads(done.stdout)
        assert (told["rows"], told["calls"], told["concurrency"]) == (60, needed, 8)
        assert (told["sampled"], told["completion_tokens"]) == (4, needed * COMPLETION_TOKENS)
    else:
        lines = {tuple(line.split()[:2]) for line in done.stdout.splitlines()}
        assert {("rows", "60"), ("calls", str(needed))} <= lines
    assert bench.count_rows() == {"done": 4}
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert len(bench.endpoint.calls()) == needed
