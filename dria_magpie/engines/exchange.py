"""A line to a process and one back, within a time. It blocks: for answers that come at once."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHUNK = 2**16
# With this much room a pipe that is ready is written to without a wait
_ROOM = getattr(select, "PIPE_BUF", 512)


def exchange(
    pipes: tuple[int, int], line: bytes, seconds: float, most: int, kill: Callable[[], object]
) -> bytes:
    """Write a line, and read the one that answers it.

    Args:
        pipes: what the process reads from, and what it writes to.
        line: what to send; nothing if it is empty.
        seconds: the most time for both.
        most: bytes of the longest answer.
        kill: ends the process, for systems on which a pipe cannot be waited for.

    Raises:
        TimeoutError: it took too long.
        EOFError: the process ended.
        OverflowError: the answer is too long.
    """
    deadline = time.monotonic() + seconds
    with _watched(seconds, kill):
        try:
            _write(pipes[0], line, deadline)
            return _read(pipes[1], deadline, most)
        except (BrokenPipeError, EOFError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError from error
            raise EOFError from error


def _write(fd: int, line: bytes, deadline: float) -> None:
    left = memoryview(line)
    while left:
        _wait(fd, "POLLOUT", deadline)
        left = left[os.write(fd, left[:_ROOM]) :]


def _read(fd: int, deadline: float, most: int) -> bytes:
    answer = bytearray()
    while not answer.endswith(b"\n"):
        _wait(fd, "POLLIN", deadline)
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            raise EOFError
        answer += chunk
        if len(answer) > most:
            raise OverflowError
    return bytes(answer)


if hasattr(select, "poll"):

    def _wait(fd: int, event: str, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, getattr(select, event))
        # The second look is for a process that was itself halted meanwhile
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000) and not poll.poll(0):
            raise TimeoutError

    @contextmanager
    def _watched(seconds: float, kill: Callable[[], object]) -> Iterator[None]:  # noqa: ARG001
        yield

else:  # pragma: no cover - Windows

    def _wait(fd: int, event: str, deadline: float) -> None:
        """Nothing: the watch ends what takes too long."""

    @contextmanager
    def _watched(seconds: float, kill: Callable[[], object]) -> Iterator[None]:
        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
