"""The network in the user's own process: nodes, and the slots they have free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from dria_magpie.errors import (
    DrainedError,
    DriaMagpieError,
    EngineError,
    InvalidInputError,
    NoNodeError,
)
from dria_magpie.models import NodeInfo, Task
from dria_magpie.network.fit import Fit, decide_fit, describe, refusal
from dria_magpie.network.slots import Slots
from dria_magpie.node import Event, Node
from dria_magpie.node.results import make_result
from dria_magpie.workflow import ExecutionState, Workflow

logger = logging.getLogger(__name__)


class LocalNetwork:
    """Nodes in the same process. Results are unsigned.

    A node that cannot start is left out, unless it is the only one.

    Args:
        nodes: the nodes, at least one.

    Raises:
        InvalidInputError: no node.

    Example::

        network = LocalNetwork([Node(engine=ScriptedEngine(lambda request: "Why?"))])
        await network.start()
        async for event in network.run(task):
            ...
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        if not nodes:
            raise InvalidInputError("a network needs at least one node")
        self._nodes = tuple(nodes)
        self._up: tuple[Node, ...] = ()
        self._down: list[tuple[Node, DriaMagpieError]] = []
        self._slots = Slots(())

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The nodes that have started, with the number of dialogues that they run now."""
        return tuple(
            replace(node.info, running=self._slots.taken(index))
            for index, node in enumerate(self._up)
        )

    def check(self, task: Task) -> None:
        """Refuse a task that no node will run, as far as that is known before `start`.

        Raises:
            GraphError: its workflow is none.
            NoNodeError: nobody serves its models.
        """
        nodes = self._up or self._nodes
        # An endpoint says what it serves once it is asked, which `start` does.
        if all(node.info.models for node in nodes):
            self._find_nodes(nodes, task, Workflow.parse(task.workflow))

    async def start(self) -> None:
        """Start the nodes.

        Raises:
            EngineError: no node could start; the text says why.
        """
        if self._up:
            return
        starts = [asyncio.ensure_future(_start(node)) for node in self._nodes]
        try:
            outcomes = await asyncio.gather(*starts)
        except BaseException:
            await asyncio.gather(*starts, return_exceptions=True)
            begun = zip(self._nodes, starts, strict=True)
            await _close([n for n, s in begun if not s.cancelled() and s.result() is None])
            raise
        pairs = list(zip(self._nodes, outcomes, strict=True))
        self._up = tuple(node for node, error in pairs if error is None)
        self._down = [(node, error) for node, error in pairs if error is not None]
        if not self._up:
            raise self._down[0][1]
        for node, error in self._down:
            context = {"action": "node_left_out", "node": node.address}
            logger.warning("%s is left out: %s", node.engines, error, extra=context)
        self._slots = Slots([node.info.slots for node in self._up])

    def forget(self, task: Task, state: ExecutionState | None = None) -> None:
        """Do nothing: nothing is kept here."""

    def drain(self) -> None:
        """Begin no further call, and keep what is under way; see `Network.drain`."""
        self._slots.close(lambda: DrainedError("the network was drained before the task began"))
        for node in self._nodes:
            node.drain()

    async def aclose(self) -> None:
        """Stop every run: those that wait for a slot, and those that wait for an answer."""
        up, self._up = self._up, ()
        self._slots.close(lambda: EngineError("the network was closed before the task began"))
        await _close(up)

    async def run(
        self, task: Task, state: ExecutionState | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run a task on the first free node that serves what it needs; see `Network.run`."""
        # A run keeps to the nodes that it began with, should the network be closed under it.
        up, slots = self._up, self._slots
        try:
            workflow = Workflow.parse(task.workflow)
            fits = self._find_nodes(up, task, workflow)
            index = await slots.take(fits)
        except DriaMagpieError as error:
            yield make_result(task, state, error=error)
            return
        try:
            run = up[index].run(task, workflow, fits[index].model, state)
            async with aclosing(run) as events:
                async for event in events:
                    yield event
        finally:
            slots.give_back(index)

    def _find_nodes(self, nodes: Sequence[Node], task: Task, workflow: Workflow) -> dict[int, Fit]:
        if not nodes:
            raise NoNodeError("the network is not started: await network.start() before a run")
        fits = {i: decide_fit(node.info, task, workflow) for i, node in enumerate(nodes)}
        able = {index: decision for index, decision in fits.items() if not decision.reason}
        if able:
            return able
        reasons = {}
        for index, decision in fits.items():
            node = nodes[index]
            reasons[f"{index + 1}. {describe(node.info, node.engines)}"] = f"it {decision.reason}"
        down = {f"{node.address} ({node.engines})": f"did not start: {e}" for node, e in self._down}
        raise refusal(task, reasons | down)


async def _start(node: Node) -> DriaMagpieError | None:
    try:
        await node.start()
    except DriaMagpieError as error:
        return error
    except Exception as error:  # noqa: BLE001 - engines are a seam, and users see this tree only
        failed = EngineError(f"{node.engines} cannot start: {error!r}")
        failed.__cause__ = error
        return failed
    return None


async def _close(nodes: Sequence[Node]) -> None:
    outcomes = await asyncio.gather(*(node.aclose() for node in nodes), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
