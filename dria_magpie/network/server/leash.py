"""Runs a program in place of this one, and ends it once stdin is closed: its owner has gone.

``python leash.py PROGRAM ARGUMENT…``: the program has this process's id. However the owner died,
the operating system closes its end of the pipe; that works where `PR_SET_PDEATHSIG` does not, and
when the thread that started the program ends before the owner does.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_PATIENCE = 10.0


def main() -> None:
    """Become the program that the arguments name, with a watcher beside it."""
    program = os.getpid()
    if os.fork() == 0:
        _watch(program)
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - there is no shell to be had


def _watch(program: int) -> None:
    # It shares the program's group, and outlives what the group is told
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, signal.SIG_IGN)
    os.closerange(1, 3)
    while os.read(0, 4096):
        pass
    end = time.monotonic() + _PATIENCE
    kind = signal.SIGTERM
    # Its id may be another's once it has ended and this process has another parent
    while os.getppid() == program:
        os.kill(program, kind)
        time.sleep(0.05)
        kind = signal.SIGTERM if time.monotonic() < end else signal.SIGKILL


if __name__ == "__main__":
    main()
