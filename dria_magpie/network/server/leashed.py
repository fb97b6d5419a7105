"""A program that runs as long as this process wants it, and never longer than this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_LEASH = Path(__file__).with_name("leash.py")
_LOOK = 0.02


class Leashed:
    """A running program.

    Args:
        command: the program's path and its arguments.
        env: variables beside those of this process.
        stderr: where its stderr goes; None for that of this process.

    Example::

        server = Leashed(["/usr/bin/nats-server", "-c", "server.conf"])
        try:
            code = await server.wait()
        finally:
            await server.stop()
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        # -S, as a leash needs nothing that is installed, and is there sooner without it
        leash = [sys.executable, "-I", "-S", str(_LEASH)] if hasattr(os, "fork") else []
        self._process = subprocess.Popen(  # noqa: S603
            [*leash, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            bufsize=0,
            # Ctrl-C in a terminal is for the parent to act on
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _kill, self._process, os.getpid())

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait for its end and give the exit code."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_LOOK)
        self._end()
        return code

    async def stop(self, seconds: float = 10) -> int:
        """Ask it to end, kill it if it does not in time, and give the exit code."""
        try:
            if self._process.poll() is None:
                self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.wait()
        finally:
            self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """Kill it with all of its own; nothing happens if it has ended."""
        self._end()


def _kill(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a fork of the owner must not end the owner's program
        return
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()
