"""What the tests of sweeps work with: a recipe, its run directory, an endpoint, a small disk."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from dria_magpie.sweep.plan import Plan
from dria_magpie.sweep.recipe import Recipe
from tests.acceptance.commands import MAGPIE, ROOT, environment, run
from tests.acceptance.mock_endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, MockEndpoint

PERSONAS = [f"Persona number {number}" for number in range(100)]
PATIENCE = 60.0
TOKENS = PROMPT_TOKENS + COMPLETION_TOKENS
HALF: dict[str, Any] = {"rows": 40, "turns": [1, 2], "sampling": {"temperature": 0.5}}

# One asker a row, each with a name that no other prompt has.
ASKED: dict[str, Any] = {
    "personas": None,
    "pairing": "product",
    "instructors": [f"Asker {number}." for number in range(20)],
    "responders": ["A patient teacher"],
    "turns": [1, 2],
}


class HasEndpoint(Protocol):
    """A bench of whatever it may be."""

    endpoint: MockEndpoint


class Running:
    """A command that runs; what it says on stderr can be read meanwhile."""

    def __init__(
        self,
        command: list[str],
        err: Path,
        out: Path | None = None,
        *,
        cwd: Path = ROOT,
        **variables: str,
    ) -> None:
        self._err = err
        with err.open("wb") as file, out.open("wb") if out else contextlib.nullcontext() as told:
            self.process = subprocess.Popen(
                command,
                stdout=told or subprocess.PIPE,
                stderr=file,
                env=environment(**variables),
                cwd=cwd,
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


def start_and_hold(bench: Bench, free: int, running: int, **keys: Any) -> Running:
    """Start a sweep that has so many calls answered, and then waits for so many others."""
    bench.write(**{"rows": 30, "turns": [1, 2], **keys})
    bench.endpoint.behave(latency=0.001, free=free, hold=True)
    started = bench.start("--concurrency", str(running))
    bench.endpoint.wait_for_calls(free + running)
    return started


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


def count_repeated(bench: HasEndpoint) -> int:
    """Give how many calls were answered that had been answered before."""
    answered = Counter((c.seed, c.digest) for c in bench.endpoint.calls() if c.answered)
    return answered.total() - len(answered)


def check_told(text: str, *parts: str) -> None:
    """Check that people are told something, and not how the program failed."""
    assert "Traceback" not in text
    for part in parts:
        assert part in text
