"""The client: tasks in, results out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self, overload

from dria_magpie.client.environment import choose_network
from dria_magpie.client.lifetime import Lifetime
from dria_magpie.client.runs import (
    OnTurn,
    check_callback,
    check_task,
    deadline_after,
    run_task,
)
from dria_magpie.client.stream import Stream
from dria_magpie.errors import DrainedError, DriaMagpieError, InvalidInputError, NetworkError
from dria_magpie.models import NodeInfo, Task, TaskResult
from dria_magpie.network import LocalNetwork, Network
from dria_magpie.node import Event, Node
from dria_magpie.node.results import make_result
from dria_magpie.workflow import ExecutionState


class Dria:
    """Runs tasks on a network of nodes; without arguments, in this process on a small model.

    What it needs is started at the first `execute`, with or without ``async with``, and nothing
    is left running when the event loop ends.

    Args:
        network: an URL, or any `Network`.
        nodes: nodes in this process, in the place of a network.
        rpc_token: the credential for the network, or for ``DRIA_ENDPOINT``. Without `network`
            and `nodes` the environment decides: ``DRIA_NETWORK`` (a URL) with ``DRIA_CREDS`` (a
            file), or ``DRIA_ENDPOINT`` with ``DRIA_API_KEY``; else the embedded model runs.
        creds: the file with the credentials for a network of machines.
        run_id: a name for what the program does on a network of machines. For a week its results
            are kept there: whoever comes back under it gets those that came meanwhile, and no
            task that has its result is run again.

    Raises:
        InvalidInputError: both `network` and `nodes`, a network that is no URL, or credentials
            that cannot be read.
        UnsupportedError: a network of machines without the packages that it takes.

    Example::

        async with Dria() as dria:
            result = await dria.execute(Task(workflow=MagPie().workflow("A chemist", "A cook")))
    """

    def __init__(
        self,
        network: str | Network | None = None,
        *,
        nodes: Sequence[Node] | None = None,
        rpc_token: str | None = None,
        creds: str | Path | None = None,
        run_id: str | None = None,
    ) -> None:
        if network is not None and nodes is not None:
            raise InvalidInputError("give a network or nodes, not both")
        if nodes is not None:
            network = LocalNetwork(nodes)
        elif network is None or isinstance(network, str):
            network = choose_network(
                network,
                api_key=os.environ.get("DRIA_API_KEY") or rpc_token,
                credentials=creds or rpc_token,
                run_id=run_id,
            )
        elif not hasattr(network, "run"):
            raise InvalidInputError(
                f"a network is an URL or a Network, not {type(network).__name__}; "
                "nodes go in Dria(nodes=[...])"
            )
        self._lifetime = Lifetime(network)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop what was started; the next `execute` starts it again."""
        await self._lifetime.aclose()

    @overload
    async def execute(
        self, task: Task, timeout: float | None = None, *, on_turn: OnTurn | None = None
    ) -> TaskResult: ...

    @overload
    async def execute(
        self, task: Sequence[Task], timeout: float | None = None, *, on_turn: OnTurn | None = None
    ) -> list[TaskResult]: ...

    async def execute(
        self,
        task: Task | Sequence[Task],
        timeout: float | None = None,
        *,
        on_turn: OnTurn | None = None,
    ) -> TaskResult | list[TaskResult]:
        """Run one task, or several at once.

        Args:
            task: a task, or a list of tasks.
            timeout: seconds for all of it, the start of a model included; None for no limit.
            on_turn: called with a `TurnDone` after each generation.

        Returns:
            The task's result; for a list, the results in the order of the tasks, where a failed
            one has `error` set.

        Raises:
            DriaMagpieError: a single task failed for good; finished turns are in ``turns``.
            InvalidInputError: something that is no task.
        """
        deadline = deadline_after(timeout)
        if not isinstance(task, Sequence):
            result = await run_task(
                self._lifetime, check_task(task), deadline, check_callback(on_turn)
            )
            if result.error:
                raise result.error
            return result
        tasks = [check_task(item) for item in task]
        async with aclosing(self._numbered(tasks, deadline, on_turn)) as numbered:
            results = {position: result async for position, result in numbered}
        return [results[position] for position in range(len(tasks))]

    async def stream(
        self,
        tasks: Iterable[Task] | AsyncIterable[Task],
        timeout: float | None = None,
        *,
        on_turn: OnTurn | None = None,
    ) -> AsyncGenerator[TaskResult, None]:
        """Run tasks and give each result as soon as it is there, failed ones with `error` set.

        Tasks are taken from the iterable only as fast as they are run and their results taken,
        so it may be endless. Leaving the loop early cancels what still runs.

        Args:
            tasks: an iterable or async iterable of tasks.
            timeout: seconds for all of it; None for no limit. An iterator is not read any
                further then; of a list, every task gets its `TaskTimeoutError`.
            on_turn: called with a `TurnDone` after each generation.

        Yields:
            One result a task, in the order in which they finish.

        Raises:
            InvalidInputError: something that is no task.
            Exception: what the iterable or `on_turn` raised.
        """
        async with aclosing(self._numbered(tasks, deadline_after(timeout), on_turn)) as numbered:
            async for _, result in numbered:
                yield result

    async def run(
        self, task: Task, state: ExecutionState | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run one task and tell of everything that happens.

        The generator stands still between two turns: the next call is made when the next event is
        asked for. So whoever writes the state down first never pays for a turn twice.

        Args:
            task: a task.
            state: where to go on, from the `TurnDone` of an earlier run; None for the start.

        Yields:
            `TurnDone` after each generation, and at the end one `TaskResult`, which has `error`
            set if the task failed for good.

        Raises:
            DriaMagpieError: the network cannot be started, or refuses the task.
        """
        network = await self._lifetime.network(check_task(task))
        taken = False
        try:
            async with aclosing(network.run(task, state)) as events:
                async for event in events:
                    if isinstance(event, TaskResult):
                        # These are no result of the network's, which may still come
                        taken = not isinstance(event.error, (DrainedError, NetworkError))
                    yield event
        finally:
            if taken:
                network.forget(task, state)

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """Start what is needed, and give the nodes that are there now.

        Raises:
            DriaMagpieError: the network cannot be started.
        """
        return (await self._lifetime.network()).nodes

    def drain(self) -> None:
        """Have no further call begun: those under way finish, each run then ends with an error.

        `aclose` takes it back.
        """
        self._lifetime.drain()

    async def _numbered(
        self,
        tasks: Iterable[Task] | AsyncIterable[Task],
        deadline: float | None,
        on_turn: OnTurn | None,
    ) -> AsyncGenerator[tuple[int, TaskResult], None]:
        callback = check_callback(on_turn)
        failure: DriaMagpieError | None = None
        window = 1
        try:
            async with asyncio.timeout_at(deadline):
                network = await self._lifetime.network()
            # Twice the slots, so that a finished task's slot never waits for the next task.
            window = 2 * sum(node.slots for node in network.nodes)
        except TimeoutError:
            pass  # every task now ends in a TaskTimeoutError of its own
        except DriaMagpieError as error:
            failure = error

        async def run(task: Task) -> TaskResult:
            if failure:
                return make_result(check_task(task), None, error=failure)
            return await run_task(self._lifetime, check_task(task), deadline, callback)

        async with aclosing(Stream(tasks, run, window, deadline).results()) as results:
            async for numbered in results:
                yield numbered
