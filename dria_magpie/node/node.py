"""A node: engines that serve whole dialogues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from dria_magpie.errors import DrainedError, EmptyCompletionError, EngineError, InvalidInputError
from dria_magpie.models import (
    ANY_MODEL,
    Engine,
    Generation,
    GenerationRequest,
    NodeInfo,
    Task,
)
from dria_magpie.node.events import Event
from dria_magpie.node.execution import Assignment, run_assignment
from dria_magpie.workflow import ExecutionState, Workflow


class Node:
    """One or more engines that serve whole dialogues.

    Args:
        engine: the engine, or several that serve different models.
        slots: how many dialogues run at once; by default as many as the engine has slots.
        address: the node's name in results.

    Raises:
        InvalidInputError: no engine, or `slots` below 1.

    Example::

        node = Node(engine=OpenAIEngine("http://localhost:8000/v1"))
        async with Dria(nodes=[node]) as dria:
            ...
    """

    def __init__(
        self, engine: Engine | Sequence[Engine], *, slots: int | None = None, address: str = "local"
    ) -> None:
        self._engines = tuple(engine) if isinstance(engine, Sequence) else (engine,)
        if not self._engines:
            raise InvalidInputError("a node needs at least one engine")
        if slots is not None and slots < 1:
            raise InvalidInputError(f"slots takes a whole number from 1, not {slots!r}")
        self._slots = slots
        self._calls: set[asyncio.Future[Generation]] = set()
        self._running = self._closed = self._drained = False
        self.address = address

    @property
    def info(self) -> NodeInfo:
        """What the node serves; its models are known once it has started."""
        models = tuple(dict.fromkeys(name for e in self._engines for name in e.models))
        slots = self._slots or max(engine.slots for engine in self._engines)
        return NodeInfo(address=self.address, models=models, slots=slots)

    @property
    def engines(self) -> str:
        """Where the engines are, for people."""
        return ", ".join(engine.address for engine in self._engines)

    async def start(self) -> None:
        """Start the engines.

        Raises:
            EngineError: one of them cannot start; then none runs.
            InvalidInputError: the node runs already, for another client.
        """
        if self._running:
            raise InvalidInputError("this node is in use by another client; give each its own")
        self._drained = False
        try:
            for engine in self._engines:
                await engine.start()
        except BaseException:
            await self.aclose()
            raise
        self._running, self._closed = True, False

    def drain(self) -> None:
        """Begin no further call, and let those under way go on; `start` takes it back."""
        self._drained = True
        for engine in self._engines:
            engine.drain()

    async def aclose(self) -> None:
        """End the calls that are under way, and stop the engines; `start` starts them again."""
        self._running, self._closed = False, True
        loop = asyncio.get_running_loop()
        calls = [call for call in self._calls if call.get_loop() is loop]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        closings = (engine.aclose() for engine in self._engines)
        for outcome in await asyncio.gather(*closings, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def run(
        self, task: Task, workflow: Workflow, model: str, state: ExecutionState | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run a task's workflow from its start, or from a state.

        Args:
            task: whose run it is.
            workflow: the task's graph, parsed.
            model: the model for generations that name none.
            state: where to go on; None for the start.

        Yields:
            `TurnDone` after each generation, and at the end one `TaskResult`.
        """
        assignment = Assignment(task=task, workflow=workflow, model=model, node=self.address)
        return run_assignment(assignment, self.generate, state)

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer a request on the engine that serves its model.

        Raises:
            EngineError: no answer could be had.
            DrainedError: `drain` came first.
        """
        engine = self._engine_for(request.model)
        if self._closed:
            raise EngineError(f"the node with the engine at {engine.address} is closed")
        if self._drained:
            raise DrainedError(f"the node with the engine at {engine.address} begins no more calls")
        call = asyncio.ensure_future(engine.generate(request))
        self._calls.add(call)
        try:
            generation = await call
            answered = bool(generation.text.strip())
        except EngineError:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise EngineError(f"the engine at {engine.address} broke the call off") from None
        except Exception as error:
            # Engines are a seam: a defect in one of them must cost one dialogue, not the stream.
            raise EngineError(f"the engine at {engine.address} failed: {error!r}") from error
        finally:
            self._calls.discard(call)
        if not answered:
            raise EmptyCompletionError(f"{request.model} answered with nothing")
        return generation

    def _engine_for(self, model: str) -> Engine:
        for name in (model, ANY_MODEL):
            for engine in self._engines:
                if name in engine.models:
                    return engine
        raise EngineError(f"no engine of this node serves {model!r}")
