"""A Python module in a process of its own that ends with this one: an order in, an answer out.

The order is a JSON line on the child's stdin, the answer one on its stdout. Stdin stays open as
long as the parent lives and wants the child.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dria_magpie.engines.exchange import exchange

_ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A child process, killed with all of its own when it is no longer wanted.

    Neither threads nor the event loop's child watcher take part, so it may outlive a loop.

    Args:
        module: the name of the module to run.
        order: what it reads, as JSON. Secrets belong here: other users can read arguments.
        stderr: where its stderr goes; None for that of this process.
        environment: its environment variables, all of them; None for those of this process.

    Example::

        child = Child("dria_magpie.engines.weights.fetch", {"name": "smollm2:135m-instruct-q4_1"})
        try:
            print(await child.answer())
        finally:
            child.kill()
    """

    def __init__(
        self,
        module: str,
        order: Mapping[str, Any],
        *,
        stderr: IO[bytes] | int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # -P: what lies in the working directory must not be imported in place of the library
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={
                **(os.environ if environment is None else environment),
                "PYTHONPATH": os.pathsep.join(paths),
            },
            bufsize=0,
            # Ctrl-C in a terminal is for the parent to act on
            start_new_session=True,
        )
        self._process = process
        self._end = weakref.finalize(self, _end, process, os.getpid())
        with suppress(BrokenPipeError):
            _stream(process.stdin).write(json.dumps(order).encode() + b"\n")

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    async def answer(self) -> dict[str, Any] | None:
        """Wait for its answer; None if it ended without one. To be called once."""
        line = await _read_line(_stream(self._process.stdout).fileno())
        return json.loads(line) if line.endswith(b"\n") else None

    def exchange(self, line: bytes, seconds: float, most: int) -> bytes:
        """Send a line and wait for the one that comes back; see `exchange` for its errors."""
        streams = (self._process.stdin, self._process.stdout)
        into, out_of = (_stream(stream).fileno() for stream in streams)
        return exchange((into, out_of), line, seconds, most, self._process.kill)

    async def ended(self, seconds: float) -> bool:
        """Tell whether it ends within some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._process.poll() is None:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.02)
        return self._process.poll() is not None

    async def dismiss(self, seconds: float = 5) -> None:
        """Let it clean up and end, and kill it if it does not."""
        try:
            _stream(self._process.stdin).close()
            await self.ended(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it and all of its own; nothing happens if that was done."""
        self._end()


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        # A fork of the owner must not end the owner's child, nor keep it alive: it lets go of it
        process.returncode = 0
    elif process.poll() is None:
        with suppress(ProcessLookupError):
            _kill(process)
        process.wait()
    for stream in (process.stdin, process.stdout):
        _stream(stream).close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:  # pragma: no cover - Windows
        process.kill()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise TypeError("the process was started without this pipe")
    return stream


async def _read_line(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    complete: asyncio.Future[None] = loop.create_future()
    data = bytearray()

    def read() -> None:
        chunk = os.read(fd, 65536)
        data.extend(chunk)
        if (not chunk or chunk.endswith(b"\n")) and not complete.done():
            complete.set_result(None)

    loop.add_reader(fd, read)
    try:
        await complete
    finally:
        loop.remove_reader(fd)
    return bytes(data)


def read_order() -> dict[str, Any]:
    """In the child: read the order."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    return order


def answer(value: Mapping[str, Any]) -> None:
    """In the child: give the answer."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def when_parent_ends(action: Callable[[], object]) -> None:
    """In the child: call something, in another thread, once the parent has ended or let go."""
    fd = sys.stdin.fileno()

    def watch() -> None:
        # Not through sys.stdin, whose lock a thread must not hold while the interpreter ends
        while os.read(fd, 4096):
            pass
        action()

    threading.Thread(target=watch, daemon=True).start()
