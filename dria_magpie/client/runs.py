"""One task's run, from the client's side: events told, the deadline kept, a result at the end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from dria_magpie.client.lifetime import Lifetime
from dria_magpie.errors import DriaMagpieError, InvalidInputError, TaskTimeoutError
from dria_magpie.models import Task, TaskResult
from dria_magpie.node import TurnDone
from dria_magpie.node.results import make_result
from dria_magpie.workflow import ExecutionState

FOREVER = 10**9
OnTurn = Callable[[TurnDone], object]


async def run_task(
    lifetime: Lifetime, task: Task, deadline: float | None, on_turn: OnTurn | None
) -> TaskResult:
    """Run a task to its result; a failure is a result too.

    Args:
        lifetime: gives the network.
        task: what to run.
        deadline: the loop's time at which the run ends unfinished; None for never.
        on_turn: called after each generation; what it raises is raised here.
    """
    state: ExecutionState | None = None
    started = telling = False
    scope = asyncio.timeout_at(deadline)
    if deadline is not None and asyncio.get_running_loop().time() >= deadline:
        return make_result(task, None, error=_timeout(None, started=True))
    try:
        async with scope:
            network = await lifetime.network(task)
            started = True
            async with aclosing(network.run(task)) as events:
                async for event in events:
                    if isinstance(event, TaskResult):
                        return event
                    state, telling = event.state, True
                    if on_turn:
                        on_turn(event)
                    telling = False
        error = DriaMagpieError(f"the network gave no result for task {task.id}")
        return make_result(task, state, error=error)
    except DriaMagpieError as error:
        if telling:
            raise
        return make_result(task, state, error=error)
    except TimeoutError:
        if telling or not scope.expired():
            raise
        return make_result(task, state, error=_timeout(state, started=started))


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


def check_callback(on_turn: OnTurn | None) -> OnTurn | None:
    """Give the callback back.

    Raises:
        InvalidInputError: it is a coroutine function.
    """
    if inspect.iscoroutinefunction(on_turn):
        raise InvalidInputError("on_turn takes a plain function; nobody would await an async one")
    return on_turn


def deadline_after(timeout: Any) -> float | None:
    """Give the loop's time after so many seconds; None for never.

    Raises:
        InvalidInputError: this is no number of seconds.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) or not 0 < timeout < FOREVER:
        raise InvalidInputError(f"timeout takes seconds above 0, or None, not {timeout!r:.80}")
    return asyncio.get_running_loop().time() + timeout


def _timeout(state: ExecutionState | None, *, started: bool) -> TaskTimeoutError:
    if not started:
        return TaskTimeoutError(
            "time ran out before the first call: the nodes were not ready, as a model was being "
            "loaded or fetched; give a longer timeout, or fetch it before: dria-magpie models pull"
        )
    return TaskTimeoutError(
        f"time ran out after {len(state.turns) if state else 0} finished turns, which are in "
        "`turns`; give a longer timeout, or None for no limit"
    )
