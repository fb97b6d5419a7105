"""One thread that has the connection: what comes together is committed together."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from dria_magpie.errors import StoreError
from dria_magpie.gateway.store.connection import open_store
from dria_magpie.gateway.store.errors import telling_errors

_Answer = TypeVar("_Answer")
_MOST_TOGETHER = 500
_Work = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Job:
    work: _Work
    future: asyncio.Future[Any]


class Writer:
    """Does work on a store, one piece after the other, each wholly or not at all.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        # A gateway that is killed waits for nobody, and this thread neither.
        self._thread = threading.Thread(target=self._run, name="gateway-store", daemon=True)
        self._closed = False

    async def start(self) -> None:
        """Open the store.

        Raises:
            StoreError: it cannot be used.
        """
        self._thread.start()
        await self._opened

    async def aclose(self) -> None:
        """Do what was asked before, and close the store."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def do(self, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Do a piece of work; it is committed once this returns.

        Who is cancelled while it waits does not keep the work from being done.

        Raises:
            StoreError: it was not done: the disk is full, or the store closed.
        """
        if self._closed:
            raise StoreError(f"{self._path} is closed, as the gateway is ending")
        job = _Job(work, self._loop.create_future())
        self._jobs.put(job)
        answer: _Answer = await job.future
        return answer

    def _run(self) -> None:
        try:
            connection = open_store(self._path)
        except BaseException as error:  # noqa: BLE001 - it is raised where the store is opened
            self._tell(self._opened, None, error)
            return
        self._tell(self._opened, None, None)
        try:
            while jobs := self._next_jobs():
                self._commit(connection, jobs)
        finally:
            connection.close()

    def _next_jobs(self) -> list[_Job]:
        """Wait for work; nothing means that there will be none."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == _MOST_TOGETHER:
                return jobs
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._jobs.put(None)  # the end comes after these
        return jobs

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        try:
            answers = self._transact(connection, jobs)
        except BaseException as error:  # noqa: BLE001 - it is raised where the work was asked for
            if len(jobs) == 1:
                self._tell(jobs[0].future, None, error)
                return
            # One of them may be at fault, and the others are not to suffer for it.
            for job in jobs:
                self._commit(connection, [job])
            return
        for job, answer in zip(jobs, answers, strict=True):
            self._tell(job.future, answer, None)

    def _transact(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[Any]:
        with telling_errors(self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                answers = [job.work(connection) for job in jobs]
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk ends it by itself
                    connection.execute("ROLLBACK")
                raise
        return answers

    def _tell(self, future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if future.done():  # whoever asked is gone
                return
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)

        self._loop.call_soon_threadsafe(settle)
