"""Many tasks at once: started as there is room, handed out as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Sized,
)
from contextlib import aclosing

from dria_magpie.errors import DriaMagpieError, InvalidInputError
from dria_magpie.models import Task, TaskResult

Tasks = Iterable[Task] | AsyncIterable[Task]
Run = Callable[[Task], Awaitable[TaskResult]]
Numbered = tuple[int, TaskResult]


class Stream:
    """Runs tasks side by side; memory depends on the window, not on the number of tasks.

    Args:
        tasks: what to run; read only as far as there is room.
        run: runs one task.
        window: how many tasks are running, or finished and not yet taken.
        deadline: the loop's time from which on an iterator, which may be endless, is not read.
    """

    def __init__(self, tasks: Tasks, run: Run, window: int, deadline: float | None = None) -> None:
        self._tasks = tasks
        self._endless = not isinstance(tasks, Sized)
        self._deadline = deadline
        self._run = run
        self._room = asyncio.Semaphore(window)
        self._running: set[asyncio.Task[None]] = set()
        # A finished task, the number of all tasks once it is known, or what went wrong.
        self._news: asyncio.Queue[Numbered | int | BaseException] = asyncio.Queue()

    async def results(self) -> AsyncGenerator[Numbered, None]:
        """Give position and result of each task, as they finish.

        Closing the generator cancels what runs. What `run` or the iterator of the tasks raises
        is raised here.
        """
        feeder = asyncio.create_task(self._feed())
        total, taken = None, 0
        try:
            while taken != total:
                news = await self._news.get()
                if isinstance(news, BaseException):
                    raise news
                if isinstance(news, int):
                    total = news
                    continue
                taken += 1
                yield news
                self._room.release()
        finally:
            await _cancel(feeder, *self._running)

    async def _feed(self) -> None:
        count = 0
        deadline = self._deadline if self._endless else None
        scope = asyncio.timeout_at(deadline)
        try:
            async with scope, aclosing(_each(self._tasks)) as tasks:
                async for task in tasks:
                    await self._room.acquire()
                    worker = asyncio.create_task(self._work(count, task))
                    self._running.add(worker)
                    worker.add_done_callback(self._running.discard)
                    count += 1
            self._news.put_nowait(count)
        except TimeoutError as error:
            self._news.put_nowait(count if scope.expired() else error)
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are read
            self._tell(error)

    async def _work(self, position: int, task: Task) -> None:
        try:
            self._news.put_nowait((position, await self._run(task)))
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are read
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Have an error raised where the results are read, unless this task was cancelled."""
        if isinstance(error, asyncio.CancelledError):
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise error
            error = DriaMagpieError("the iterator of the tasks, or on_turn, cancelled itself")
        self._news.put_nowait(error)


async def _each(tasks: Tasks) -> AsyncGenerator[Task, None]:
    if isinstance(tasks, AsyncGenerator):
        async with aclosing(tasks) as generator:
            async for task in generator:
                yield check_task(task)
    elif isinstance(tasks, AsyncIterable):
        async for task in tasks:
            yield check_task(task)
    elif isinstance(tasks, Iterable):
        for task in tasks:
            # A slow iterator must not keep the answers waiting that have come meanwhile.
            await asyncio.sleep(0)
            yield check_task(task)
    else:
        raise InvalidInputError(f"stream takes an iterable of tasks, not {type(tasks).__name__}")


def check_task(task: object) -> Task:
    """Give the task back.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(task, Task):
        raise InvalidInputError(
            f"execute and stream take Task values, not {type(task).__name__}; "
            "for example Task(workflow=MagPie().workflow(...), models=[Model.SMOLLM2_135M])"
        )
    return task


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
