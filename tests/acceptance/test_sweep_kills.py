"""Sweeps that are killed, and gone on with."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import psutil

from tests.acceptance.commands import ROOT
from tests.acceptance.sweep_bench import (
    PERSONAS,
    Bench,
    check_ids,
    check_whole,
    count_repeated,
)


def test_five_thousand_rows_survive_five_kills_without_a_lost_turn(bench: Bench) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(2**32))
    print(f"KILL_SEED={seed} repeats it")
    chance = random.Random(seed)
    shares = [0.001, *(chance.random() for _ in range(3)), chance.uniform(0.96, 0.99)]
    bench.write(personas=PERSONAS, rows=5_000, turns=[1, 2])
    needed, in_flight = bench.calls_needed, 32
    committed: list[tuple[set[int], int]] = []
    for share in sorted(shares):
        running = bench.start("--concurrency", str(in_flight))
        bench.endpoint.wait_for_calls(round(share * needed))
        running.kill()
        assert running.process.returncode == -signal.SIGKILL, running.stderr
        position = bench.endpoint.position()
        committed.append((set(bench.kept().values()), position))
    assert len(committed[-1][0]) > 0.9 * needed
    assert bench.start("--concurrency", str(in_flight)).wait() == 0
    check_whole(bench)
    for seeds, position in committed:
        assert seeds.isdisjoint(call.seed for call in bench.endpoint.calls(position))
    assert count_repeated(bench) <= len(shares) * in_flight


def test_the_embedded_model_survives_kills_and_leaves_no_process(bench: Bench) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(2**32))
    print(f"KILL_SEED={seed} repeats it")
    bench.place = []
    bench.write(rows=12, sampling={"max_tokens": 12})
    before: dict[tuple[int, int], int] = {}
    for share in sorted(random.Random(seed).uniform(0.05, 0.9) for _ in range(3)):
        running = bench.start()
        least = max(round(share * 24), len(before) + 1)
        running.wait_until(lambda least=least: bench.count_turns() >= least)
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert children
        running.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
        now = bench.kept()
        assert before.items() <= now.items()
        before = now
    assert len(before) < 24
    done = bench.sweep()
    assert done.returncode == 0, done.stderr
    assert before.items() <= bench.kept().items()
    check_ids(bench)


# Leaves a store as a process does that is killed while its first transaction is written.
DYING = """
import os, signal, sqlite3, sys
from importlib.resources import files
schema = files("dria_magpie.sweep.store").joinpath("schema.sql").read_text("utf-8")
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA cache_size = 1")
store.executescript("BEGIN IMMEDIATE;" + schema)
for number in range(50):
    store.execute("INSERT INTO facts VALUES (?, ?)", (number, "x" * 4000))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_while_the_store_is_made_does_no_harm(bench: Bench) -> None:
    bench.write(rows=5)
    bench.run_dir.mkdir()
    subprocess.run([sys.executable, "-c", DYING, str(bench.store)], cwd=ROOT, check=False)
    assert bench.store.with_name("store.sqlite-journal").stat().st_size
    done = bench.sweep()
    assert done.returncode == 0, done.stderr
    check_whole(bench)
