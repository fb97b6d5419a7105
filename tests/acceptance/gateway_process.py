"""The command ``gateway`` as a process, and programs of the ``dria`` SDK beside it."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.commands import MAGPIE, ROOT, run
from tests.acceptance.sweep_bench import Running
from tests.ports import find_ports

SDK_PYTHON = ROOT / ".venv-sdk" / "bin" / "python"
PROGRAMS = Path(__file__).parent / "sdk_programs"
GEMMA = "gemma2:9b-instruct-fp16"


class GatewayProcess:
    """A gateway with a directory of its own, which may be ended and started again.

    Args:
        folder: for its directory, and what it says.
        options: of the command, besides where it listens and its directory.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.directory = folder / "gateway"
        self.port = find_ports()
        self._options = options
        self._lives: list[Running] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.running.process.poll() is None:
            self.end()

    @cached_property
    def scheme(self) -> str:
        return "https" if "--tls-cert" in self._options else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def running(self) -> Running:
        """The process of now."""
        return self._lives[-1]

    def start(self) -> None:
        """Start it, or start it again, and wait until it listens."""
        command = [MAGPIE, "gateway", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--dir", str(self.directory), *self._options]
        self._lives.append(Running(command, self.folder / f"gateway-{len(self._lives)}.log"))
        self.running.wait_until(lambda: any(self.events("gateway_ready", self.running)))

    def kill(self) -> None:
        """End it as a power cut would."""
        self.running.kill()

    def end(self) -> int:
        """Ask it to end; give its exit code, and kill it if it does not."""
        self.running.send(signal.SIGTERM)
        try:
            return self.running.wait()
        finally:
            self.running.kill()

    def wait_for_poll(self) -> None:
        """Wait until somebody waits for results: nothing else keeps a connection open."""
        process = psutil.Process(self.running.process.pid)

        def is_polled() -> bool:
            return any(
                c.status == psutil.CONN_ESTABLISHED and c.laddr.port == self.port
                for c in process.net_connections("tcp")
            )

        self.running.wait_until(is_polled)

    def make_key(self, name: str) -> str:
        """Make a key, as a user does."""
        done = run(MAGPIE, "gateway", "key", "create", name, "--dir", str(self.directory))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the store, and leave no trace."""
        uri = f"{(self.directory / 'gateway.sqlite').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as store:
            return store.execute(sql).fetchall()

    def count_finished(self) -> int:
        """Give how many tasks have a result that is kept."""
        return self.query("SELECT count(*) FROM tasks WHERE finished IS NOT NULL")[0][0]

    @property
    def said(self) -> str:
        return "".join(life.stderr for life in self._lives)

    def events(self, action: str, life: Running | None = None) -> list[dict[str, Any]]:
        """Give the lines of its log about something that happened, in all its lives or in one."""
        said = life.stderr if life else self.said
        lines = [line for line in said.splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in map(json.loads, lines) if event.get("action") == action]


class Program(Running):
    """A program of ``sdk_programs`` that runs."""

    def __init__(
        self, name: str, url: str, key: str, folder: Path, *words: str, **variables: str
    ) -> None:
        if not SDK_PYTHON.exists():
            pytest.fail(f"{SDK_PYTHON} is not there: make test makes it, with the dria SDK in it")
        folder.mkdir(parents=True, exist_ok=True)
        self._seen = folder / "seen.json"
        command = [str(SDK_PYTHON), str(PROGRAMS / f"{name}.py"), url, key, str(self._seen), *words]
        # The SDK writes into the home directory as soon as it is imported.
        home = {"HOME": str(folder), "TQDM_DISABLE": "1", **variables}
        super().__init__(command, folder / "err.log", folder / "out.log", cwd=folder, **home)

    def seen(self) -> dict[str, Any]:
        """Wait for its end, and give what it saw."""
        assert self.wait() == 0, self.stderr[-5000:]
        return json.loads(self._seen.read_text("utf-8"))
