"""Sweeps as a user runs them: killed, interrupted, out of room, refused, and gone on with."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dria_magpie.sweep.plan import Plan
from dria_magpie.sweep.recipe import Recipe
from tests.acceptance.commands import MAGPIE, ROOT, environment, run
from tests.acceptance.mock_endpoint import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    MockEndpoint,
    mock_endpoint,
)

PERSONAS = [f"Persona number {number}" for number in range(100)]
PATIENCE = 60.0
TOKENS = PROMPT_TOKENS + COMPLETION_TOKENS
# Runs a command that can write no file beyond a size.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Running:
    """A command that runs; what it says on stderr can be read meanwhile."""

    def __init__(self, command: list[str], err: Path) -> None:
        self._err = err
        with err.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=file, env=environment(), cwd=ROOT
            )

    @property
    def stderr(self) -> str:
        return self._err.read_text("utf-8")

    def send(self, kind: signal.Signals) -> None:
        self.process.send_signal(kind)

    def kill(self) -> None:
        """End it as a power cut would; what runs below it is left to itself."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def wait(self) -> int:
        """Wait for the end, and give the exit code."""
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, while this runs."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)


class Bench:
    """A recipe, its run directory, and the endpoint that it is made on."""

    def __init__(self, folder: Path, endpoint: MockEndpoint) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.recipe = folder / "recipe.toml"
        self.run_dir = folder / "run"
        self.place = ["--endpoint", endpoint.url]
        self.started: list[Running] = []

    @property
    def store(self) -> Path:
        return self.run_dir / "store.sqlite"

    @property
    def plan(self) -> Plan:
        return Plan.of(Recipe.read(self.recipe))

    @property
    def calls_needed(self) -> int:
        plan = self.plan
        return sum(2 * plan.turns(number) for number in range(len(plan)))

    def write(self, **keys: Any) -> None:
        """Write the recipe; personas and a seed are there by themselves."""
        keys = {"personas": PERSONAS[:20], "pairing": "random", "seed": 7, **keys}
        lines = [f"{name} = {_toml(value)}" for name, value in keys.items() if value is not None]
        self.recipe.write_text("\n".join(lines), "utf-8")

    def command(self, *options: str) -> list[str]:
        made = [MAGPIE, "sweep", str(self.recipe), "-o", str(self.run_dir)]
        return [*made, *self.place, *options]

    def start(self, *options: str) -> Running:
        running = Running(self.command(*options), self.folder / f"err-{len(self.started)}")
        self.started.append(running)
        return running

    def sweep(self, *options: str) -> subprocess.CompletedProcess[str]:
        return run(*self.command(*options), timeout=PATIENCE)

    def ask(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        return run(MAGPIE, verb, str(self.run_dir), *options, timeout=PATIENCE)

    def status(self) -> dict[str, Any]:
        done = self.ask("status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def export(self, name: str = "out.jsonl") -> list[dict[str, Any]]:
        done = self.ask("export", "-o", str(self.folder / name))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the store, and leave no trace."""
        uri = f"{self.store.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as store:
            return store.execute(sql).fetchall()

    def kept(self) -> dict[tuple[int, int], int]:
        """Give the seeds of the turns that are kept, by row and position."""
        found = self.query("SELECT row, position, json_extract(turn, '$.sampling.seed') FROM turns")
        return {(row, position): seed for row, position, seed in found}

    def count_turns(self) -> int:
        """Give the number of turns that are kept; 0 as long as there is no store."""
        try:
            return self.query("SELECT count(*) FROM turns")[0][0]
        except sqlite3.OperationalError:
            return 0

    def count_rows(self) -> Counter[str]:
        """Give the number of rows by their status."""
        return Counter(dict(self.query("SELECT status, count(*) FROM rows GROUP BY status")))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


@pytest.fixture(scope="module")
def shared_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockEndpoint]:
    with mock_endpoint(tmp_path_factory.mktemp("endpoint") / "calls.jsonl") as endpoint:
        yield endpoint


@contextlib.contextmanager
def make_bench(folder: Path, endpoint: MockEndpoint) -> Iterator[Bench]:
    """Give a bench with a log of its own; what it started is ended with it."""
    endpoint.start_log(folder / "calls.jsonl")
    bench = Bench(folder, endpoint)
    try:
        yield bench
    finally:
        for running in bench.started:
            running.kill()


@pytest.fixture
def bench(tmp_path: Path, shared_endpoint: MockEndpoint) -> Iterator[Bench]:
    with make_bench(tmp_path, shared_endpoint) as bench:
        yield bench


HALF: dict[str, Any] = {"rows": 40, "turns": [1, 2], "sampling": {"temperature": 0.5}}

# One asker a row, each with a name that no other prompt has.
ASKED: dict[str, Any] = {
    "personas": None,
    "pairing": "product",
    "instructors": [f"Asker {number}." for number in range(20)],
    "responders": ["A patient teacher"],
    "turns": [1, 2],
}


@pytest.fixture(scope="module")
def half_made(tmp_path_factory: pytest.TempPathFactory, shared_endpoint: MockEndpoint) -> Path:
    """Give the directory of a sweep that stopped after 20 of 40 rows."""
    with make_bench(tmp_path_factory.mktemp("half"), shared_endpoint) as bench:
        bench.write(**HALF, limits={"rows": 20})
        done = bench.sweep()
        assert done.returncode == 0, done.stderr
        return bench.run_dir


@pytest.fixture
def half_bench(half_made: Path, bench: Bench) -> Bench:
    """Give a bench with a sweep that stopped after 20 of 40 rows, and its recipe."""
    shutil.copytree(half_made, bench.run_dir)
    bench.write(**HALF)
    return bench


class Disk:
    """A file system with little room."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: str, how: str = "remount,") -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", str(self.path)]
        try:
            return not subprocess.run(command, capture_output=True, check=False).returncode
        except FileNotFoundError:
            return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    disk = Disk(path)
    if not disk.resize("256k", how=""):
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def check_ids(bench: Bench) -> list[dict[str, Any]]:
    """Check that store and export have each planned row once, and no other; give the export."""
    plan = bench.plan
    ids = [row.id for row in plan]
    assert bench.query("SELECT id, status FROM rows ORDER BY number") == [(i, "done") for i in ids]
    assert bench.kept().keys() == {(row.number, p) for row in plan for p in range(2 * row.turns)}
    records = bench.export()
    assert [record["id"] for record in records] == ids
    return records


def check_whole(bench: Bench) -> None:
    """Check `check_ids`, and that each message is the answer to the call of its place."""
    records, kept = check_ids(bench), bench.kept()
    assert len(set(kept.values())) == len(kept)
    for number, record in enumerate(records):
        told = [message["content"].partition(" ")[2] for message in record["messages"]]
        assert told == [f"answers to {kept[number, place]}" for place in range(len(told))]


def count_repeated(bench: Bench) -> int:
    """Give how many calls were answered that had been answered before."""
    answered = Counter((c.seed, c.digest) for c in bench.endpoint.calls() if c.answered)
    return answered.total() - len(answered)


def check_told(text: str, *parts: str) -> None:
    """Check that people are told something, and not how the program failed."""
    assert "Traceback" not in text
    for part in parts:
        assert part in text


# --- kills


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


# --- interrupts


def start_and_hold(bench: Bench, free: int, running: int, **keys: Any) -> Running:
    """Start a sweep that has so many calls answered, and then waits for so many others."""
    bench.write(**{"rows": 30, "turns": [1, 2], **keys})
    bench.endpoint.behave(latency=0.001, free=free, hold=True)
    started = bench.start("--concurrency", str(running))
    bench.endpoint.wait_for_calls(free + running)
    return started


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_calls_under_way_and_begins_none(
    bench: Bench, kind: signal.Signals
) -> None:
    running = start_and_hold(bench, free=20, running=8)
    running.send(kind)
    running.wait_until(lambda: "interrupted: 8 calls under way" in running.stderr)
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
    running.wait_until(lambda: "interrupted: 8 calls under way" in running.stderr)
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
    assert "it was killed" in bench.ask("status").stdout

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


def test_a_sweep_on_a_read_only_disk_can_be_read(half_bench: Bench, disk: Disk) -> None:
    shutil.copy(half_bench.store, disk.path)
    half_bench.run_dir = disk.path
    assert disk.resize("256k", how="remount,ro,")
    assert half_bench.status()["done"] == 20


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


def test_an_interrupted_dry_run_says_so(bench: Bench) -> None:
    bench.write(rows=60)
    bench.endpoint.behave(hold=True)
    running = bench.start("--dry-run", "--concurrency", "2")
    bench.endpoint.wait_for_calls(2)
    running.send(signal.SIGINT)
    assert running.wait() == 130
    check_told(running.stderr, "interrupted")


# --- endpoints that refuse, break and come back


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
    # As many rows as calls at once, so that none begins when others have given up already.
    running = start_and_hold(bench, free=24, running=24, rows=24, turns=2, retries=0)
    kept = bench.kept()
    assert len(kept) == 24
    started = time.monotonic()
    bench.endpoint.go_down()
    assert running.wait() == 1
    print(f"it ended after {time.monotonic() - started:.1f} s")
    check_told(running.stderr, "halted: ", "rows failed and nothing succeeded", bench.endpoint.url)
    assert bench.kept() == kept
    assert bench.count_rows()["failed"] == 0
    bench.endpoint.come_back()
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


@pytest.mark.parametrize("status", [400, 401, 404])
def test_an_endpoint_that_begins_to_refuse_everything_ends_the_sweep(
    bench: Bench, status: int
) -> None:
    bench.write(rows=60, turns=[1, 2])
    bench.endpoint.behave(free=30, status=status)
    done = bench.sweep("--concurrency", "4")
    assert done.returncode == 1
    check_told(done.stderr, "halted: ", "rows failed and nothing succeeded", str(status))
    assert len(bench.endpoint.calls()) < 30 + 2 * 24
    assert bench.count_rows()["failed"] == 0
    assert bench.count_turns() == 30
    bench.endpoint.behave()
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


def test_an_outage_ends_a_sweep_though_a_row_waits_for_its_next_attempt(bench: Bench) -> None:
    bench.write(**ASKED | {"instructors": [f"Asker {number}." for number in range(60)]})
    bench.endpoint.behave(status=429, retry_after=30, containing="Asker 3.")
    running = bench.start("--concurrency", "4")
    running.wait_until(lambda: any(call.ended == "429" for call in bench.endpoint.calls()))
    bench.endpoint.behave(status=400)
    assert running.process.wait(4) == 1
    check_told(running.stderr, "halted: 20 rows failed and nothing succeeded")
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
    check_told(done.stderr, "1 failed (EndpointError 1)", "--retry-failed")
    assert bench.count_rows() == {"done": 19, "failed": 1}
    now = bench.status()
    assert (now["failed"], now["failed_by_reason"]) == (1, {"EndpointError": 1})
    text = [line.split() for line in bench.ask("status").stdout.splitlines()]
    assert ["EndpointError", "1"] in text
    [(instructor, error)] = bench.query(
        "SELECT instructor, error FROM rows WHERE status = 'failed'"
    )
    assert instructor == "Asker 3."
    check_told(error, "400", "the mock endpoint refuses this")
    assert len(bench.export()) == 19

    bench.endpoint.behave()
    made = len(bench.endpoint.calls())
    assert bench.sweep().returncode == 1
    assert len(bench.endpoint.calls()) == made
    assert bench.sweep("--retry-failed").returncode == 0
    check_whole(bench)
    assert count_repeated(bench) == 0


# --- exports and models


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
