"""The run directory: full, held by somebody else, damaged, read while it is written."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.commands import run
from tests.acceptance.mock_endpoint import MockEndpoint
from tests.acceptance.sweep_bench import (
    HALF,
    PATIENCE,
    Bench,
    Disk,
    Running,
    check_told,
    check_whole,
    count_repeated,
    make_bench,
    start_and_hold,
)

# Runs a command that can write no file beyond a size.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""


# --- disks


def test_a_full_disk_ends_a_sweep_that_goes_on_once_there_is_room(bench: Bench, disk: Disk) -> None:
    bench.run_dir = disk.path / "run"
    bench.write(rows=100, turns=[1, 2])
    done = bench.sweep("--concurrency", "8")
    assert done.returncode == 1
    check_told(done.stderr, f"the disk with {bench.store} is full: make room")
    assert 0 < bench.count_turns() < bench.calls_needed
    kept = bench.kept()
    assert disk.resize("32m")
    position = bench.endpoint.position()
    done = bench.sweep("--concurrency", "8")
    assert done.returncode == 0, done.stderr
    check_whole(bench)
    assert set(kept.values()).isdisjoint(call.seed for call in bench.endpoint.calls(position))
    assert count_repeated(bench) <= 8


def test_a_file_that_may_not_grow_ends_a_sweep_as_a_full_disk_does(bench: Bench) -> None:
    bench.write(rows=40)
    command = bench.command("--concurrency", "8")
    done = run(sys.executable, "-c", LIMITED, str(2**18), *command, timeout=PATIENCE)
    assert done.returncode == 1
    check_told(done.stderr, str(bench.store), "check the disk and the room on it")
    assert 0 < bench.count_turns() < bench.calls_needed
    done = bench.sweep("--concurrency", "8")
    assert done.returncode == 0, done.stderr
    check_whole(bench)
    assert count_repeated(bench) <= 8


@pytest.mark.parametrize("name", ["data.jsonl", "data.parquet"])
def test_an_export_to_a_full_disk_leaves_the_older_file(
    half_bench: Bench, disk: Disk, name: str
) -> None:
    older = {disk.path / name: b"older", disk.path / "README.md": b"mine"}
    for path, content in older.items():
        path.write_bytes(content)
    filler = disk.path / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    done = half_bench.ask("export", "-o", str(disk.path / name))
    assert done.returncode == 1
    check_told(done.stderr, f"cannot write {disk.path / name}", "No space left", "make room")
    assert {*disk.path.iterdir()} == {*older, filler}
    assert {path: path.read_bytes() for path in older} == older


def test_a_sweep_on_a_read_only_disk_can_be_read(half_bench: Bench, disk: Disk) -> None:
    shutil.copy(half_bench.store, disk.path)
    half_bench.run_dir = disk.path
    assert disk.resize("256k", how="remount,ro,")
    assert half_bench.status()["done"] == 20


# --- other processes


def test_a_second_sweep_of_a_directory_is_refused_and_the_first_goes_on(bench: Bench) -> None:
    running = start_and_hold(bench, free=20, running=8)
    started = time.monotonic()
    second = bench.sweep()
    assert second.returncode == 1
    assert time.monotonic() - started < 6
    check_told(second.stderr, "another process makes the sweep in", str(bench.run_dir))
    assert len(bench.endpoint.calls()) == 28
    bench.endpoint.release()
    assert running.wait() == 0
    check_whole(bench)
    assert len(bench.endpoint.calls()) == bench.calls_needed


@contextlib.contextmanager
def holding(store: Path) -> Iterator[None]:
    """Hold SQLite's lock for writing, as a tool that looks into the store may do."""
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_sweep_waits_for_a_store_that_is_held_for_a_while(bench: Bench) -> None:
    running = start_and_hold(bench, free=20, running=8)
    with holding(bench.store):
        bench.endpoint.release()
        time.sleep(3)  # the time is what is tested
        assert running.process.poll() is None
        assert bench.count_turns() == 20
    assert running.wait() == 0, running.stderr
    check_whole(bench)
    assert len(bench.endpoint.calls()) == bench.calls_needed


@pytest.fixture(scope="module")
def held_for_ever(
    tmp_path_factory: pytest.TempPathFactory, shared_endpoint: MockEndpoint
) -> Iterator[tuple[Bench, Running, float]]:
    """Give a sweep that ended as another process held its store, and the seconds that it took."""
    with make_bench(tmp_path_factory.mktemp("held"), shared_endpoint) as bench:
        running = start_and_hold(bench, free=20, running=2)
        with holding(bench.store):
            # Both answers are there when it goes on, as they are on a busy machine.
            running.send(signal.SIGSTOP)
            shared_endpoint.release()
            shared_endpoint.wait_for_answers(22)
            running.send(signal.SIGCONT)
            started = time.monotonic()
            running.wait()
            seconds = time.monotonic() - started
        yield bench, running, seconds


def test_a_store_that_is_held_for_ever_ends_a_sweep_and_nothing_is_lost(
    held_for_ever: tuple[Bench, Running, float],
) -> None:
    bench, running, seconds = held_for_ever
    print(f"it ended after {seconds:.1f} s")
    assert running.wait() == 1
    assert seconds > 9
    check_told(running.stderr, f"another process holds {bench.store}", "the same command again")
    assert len(bench.kept()) == 20
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) <= 2


def test_the_patience_with_a_held_store_does_not_grow_with_the_calls_under_way(
    held_for_ever: tuple[Bench, Running, float],
) -> None:
    assert held_for_ever[2] < 15


# --- readers


def test_an_export_while_a_sweep_goes_on_has_whole_rows_only(bench: Bench) -> None:
    running = start_and_hold(bench, free=41, running=8, turns=[1, 3])
    turns = {row.id: row.turns for row in bench.plan}
    ids = [i for (i,) in bench.query("SELECT id FROM rows WHERE status = 'done' ORDER BY number")]
    assert 0 < len(ids) < 30
    assert [record["id"] for record in bench.export()] == ids
    bench.endpoint.behave(latency=0.05)
    bench.endpoint.release()
    while running.process.poll() is None:
        records = bench.export()
        assert all(len(record["messages"]) == 2 * turns[record["id"]] for record in records)
        assert len({record["id"] for record in records}) == len(records) >= len(ids)
    assert running.wait() == 0
    check_whole(bench)


# --- damage


def _overwrite(store: Path) -> None:
    with store.open("r+b") as file:
        file.seek(store.stat().st_size // 2 // 4096 * 4096)
        file.write(random.Random(1).randbytes(8192))


def _truncate(store: Path) -> None:
    os.truncate(store, store.stat().st_size // 2)


def _replace(store: Path) -> None:
    store.write_text("This is a note of mine.\n" * 1000)


def _put_other_database(store: Path) -> None:
    store.unlink()
    with contextlib.closing(sqlite3.connect(store)) as other:
        other.execute("CREATE TABLE mine (text)")
        other.commit()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_overwrite, "is damaged"),
        (_truncate, "is damaged"),
        (_replace, "is damaged"),
        (_put_other_database, "is not the store of a sweep"),
    ],
)
def test_a_damaged_store_is_told_of_and_left_as_it_is(
    half_bench: Bench, damage: Callable[[Path], None], told: str
) -> None:
    for suffix in ("-wal", "-shm"):
        half_bench.store.with_name(f"store.sqlite{suffix}").unlink(missing_ok=True)
    damage(half_bench.store)
    before = half_bench.store.read_bytes()
    for done in (
        half_bench.sweep(),
        half_bench.ask("status"),
        half_bench.ask("export", "-o", str(half_bench.folder / "out.jsonl")),
    ):
        check_told(done.stderr)
        if done.args[1] == "sweep":
            assert done.returncode == 1
            check_told(done.stderr, f"{half_bench.store} {told}")
    assert half_bench.store.read_bytes() == before
    assert half_bench.endpoint.calls() == []


def test_a_damaged_store_keeps_the_log_that_a_kill_left_beside_it(half_bench: Bench) -> None:
    running = start_and_hold(half_bench, free=10, running=4, **HALF)
    running.kill()
    log = half_bench.store.with_name("store.sqlite-wal")
    assert log.stat().st_size
    _overwrite(half_bench.store)
    before = {path: path.read_bytes() for path in (half_bench.store, log)}
    done = half_bench.sweep()
    assert done.returncode == 1
    check_told(done.stderr, f"{half_bench.store} is damaged", "nothing was changed")
    assert {path: path.exists() and path.read_bytes() for path in before} == before
