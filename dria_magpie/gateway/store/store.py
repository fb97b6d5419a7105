"""`Store`: the tasks that were accepted, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dria_magpie.gateway.store.keys import ApiKey, read_keys
from dria_magpie.gateway.store.writer import Writer
from dria_magpie.gateway.wire import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known of a task, but for its texts. Times are seconds since 1970.

    Attributes:
        number: its place among all tasks.
        key: the number of its API key.
        id: the client's name for it.
        burst: the number of those that came together with it.
        identity: the number of the node that the client picked.
        public_key: what its result is sealed with.
        models: any of which will do, as the client names them.
        received: when it came.
        attempts: how often it failed.
        refused: whether it is the answer to one too many.
        size: bytes of the item; None if it is not finished.
        finished: when it had its item; None if it has none.
        delivered: when its item reached the client; None if it did not.
    """

    number: int
    key: int
    id: str
    burst: int
    identity: int
    public_key: bytes = field(repr=False)
    models: tuple[str, ...]
    received: float
    attempts: int = 0
    refused: bool = False
    size: int | None = None
    finished: float | None = None
    delivered: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What a run begins with.

    Attributes:
        workflow: the graph.
        state: where an earlier run stood, as JSON; None for the start.
    """

    workflow: Any
    state: str | None


_COLUMNS = (
    "number, key, id, burst, identity, public_key, models, received, attempts, refused, "
    "length(item) AS size, finished, delivered"
)


class Store:
    """What the gateway has accepted, and not yet delivered.

    Args:
        path: the file.

    Raises:
        StoreError: from every method: nothing was changed, as the disk is full or the file damaged.
    """

    def __init__(self, path: Path) -> None:
        self._writer = Writer(path)

    async def start(self) -> None:
        """Open it."""
        await self._writer.start()

    async def aclose(self) -> None:
        """Close it."""
        await self._writer.aclose()

    async def read_keys(self) -> tuple[ApiKey, ...]:
        """Give all API keys."""
        return await self._writer.do(read_keys)

    async def note_used(self, times: Mapping[int, float]) -> None:
        """Note when keys were last used."""
        rows = [(used, number) for number, used in times.items()]
        await self._write_many("UPDATE keys SET used = ? WHERE number = ?", rows)

    async def read_tasks(self) -> tuple[Kept, ...]:
        """Give all tasks in the order in which they came."""

        def read(connection: sqlite3.Connection) -> tuple[Kept, ...]:
            found = connection.execute(f"SELECT {_COLUMNS} FROM tasks ORDER BY number")  # noqa: S608
            names = [column[0] for column in found.description]
            return tuple(_read(dict(zip(names, row, strict=True))) for row in found)

        return await self._writer.do(read)

    async def accept(
        self,
        order: Order,
        *,
        key: int,
        burst: int,
        identity: int,
        received: float,
        item: str | None = None,
        refused: bool = False,
    ) -> Kept:
        """Keep a task; with an item it is finished already."""
        workflow = None if item else json.dumps(order.workflow)
        models = json.dumps(order.models)
        values = (key, order.id, burst, identity, order.public_key, models, received)
        finished = received if item else None

        def insert(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO tasks (key, id, burst, identity, public_key, models, received, "
                "workflow, item, refused, finished) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, workflow, item, int(refused), finished),
            )
            return cursor.lastrowid or 0

        return Kept(
            number=await self._writer.do(insert),
            key=key,
            id=order.id,
            burst=burst,
            identity=identity,
            public_key=order.public_key,
            models=order.models,
            received=received,
            refused=refused,
            size=len(item) if item else None,
        )

    async def read_work(self, number: int) -> Work | None:
        """Give what a task is run from; None if there is no such task any more."""

        def read(connection: sqlite3.Connection) -> Any:
            return connection.execute(
                "SELECT workflow, state FROM tasks WHERE number = ? AND workflow IS NOT NULL",
                (number,),
            ).fetchone()

        found = await self._writer.do(read)
        return Work(json.loads(found[0]), found[1]) if found else None

    async def keep_state(self, number: int, state: str) -> None:
        """Keep where a run stands."""
        await self._write("UPDATE tasks SET state = ? WHERE number = ?", state, number)

    async def keep_attempts(self, number: int, attempts: int, state: str | None) -> None:
        """Keep how often a task has failed, and where the next attempt begins."""
        await self._write(
            "UPDATE tasks SET attempts = ?, state = ? WHERE number = ?", attempts, state, number
        )

    async def finish(self, number: int, item: str, now: float) -> None:
        """Keep a task's result; what it was made from is deleted."""
        await self._write(
            "UPDATE tasks SET item = ?, finished = ?, workflow = NULL, state = NULL "
            "WHERE number = ?",
            item,
            now,
            number,
        )

    async def read_items(self, numbers: Sequence[int]) -> dict[int, str]:
        """Give the items of tasks, by number."""

        def read(connection: sqlite3.Connection) -> list[tuple[int, str]]:
            marks = ", ".join("?" * len(numbers))
            return connection.execute(
                f"SELECT number, item FROM tasks WHERE number IN ({marks}) "  # noqa: S608
                "AND item IS NOT NULL",
                numbers,
            ).fetchall()

        return dict(await self._writer.do(read))

    async def note_delivered(self, numbers: Sequence[int], now: float | None) -> None:
        """Note when items reached their client; None if they did not after all."""
        rows = [(now, number) for number in numbers]
        await self._write_many("UPDATE tasks SET delivered = ? WHERE number = ?", rows)

    async def drop_items(self, numbers: Sequence[int]) -> None:
        """Delete items that nobody asks for again; their tasks' names stay."""
        rows = [(number,) for number in numbers]
        await self._write_many("UPDATE tasks SET item = NULL WHERE number = ?", rows)

    async def drop_tasks(self, numbers: Sequence[int]) -> None:
        """Delete tasks."""
        rows = [(number,) for number in numbers]
        await self._write_many("DELETE FROM tasks WHERE number = ?", rows)

    async def _write(self, sql: str, *values: Any) -> None:
        await self._writer.do(lambda connection: connection.execute(sql, values).rowcount)

    async def _write_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            await self._writer.do(lambda connection: connection.executemany(sql, rows).rowcount)


def _read(values: dict[str, Any]) -> Kept:
    models = tuple(json.loads(values["models"]))
    return Kept(**{**values, "models": models, "refused": bool(values["refused"])})
