"""One task's run, from the client's side: events told, the deadline kept, a result at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from dria_magpie.client.lifetime import Lifetime
from dria_magpie.errors import DriaMagpieError, TaskTimeoutError
from dria_magpie.models import Task, TaskResult, Turn
from dria_magpie.node import TurnDone

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
    turns: tuple[Turn, ...] = ()
    scope = asyncio.timeout_at(deadline)
    try:
        async with scope:
            network = await lifetime.network()
            async with aclosing(network.run(task)) as events:
                async for event in events:
                    if isinstance(event, TaskResult):
                        return event
                    turns = event.state.turns
                    if on_turn:
                        on_turn(event)
        return failure(task, DriaMagpieError(f"no result came for task {task.id}"), turns)
    except DriaMagpieError as error:
        return failure(task, error, turns)
    except TimeoutError:
        if not scope.expired():
            raise
        return failure(task, _timeout(len(turns)), turns)


def failure(task: Task, error: DriaMagpieError, turns: tuple[Turn, ...] = ()) -> TaskResult:
    """Give the result of a task that failed."""
    return TaskResult(
        id=task.key,
        error=error,
        turns=turns,
        model=", ".join(dict.fromkeys(turn.model for turn in turns)),
        step_name=task.step_name,
    )


def _timeout(turns: int) -> TaskTimeoutError:
    return TaskTimeoutError(
        f"time ran out after {turns} finished turns, which are in `turns`; "
        "give a longer timeout, or None for no limit"
    )
