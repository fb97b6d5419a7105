"""The network in the user's own process: nodes, and the slots they have free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from dria_magpie.errors import DriaMagpieError, InvalidInputError, NoNodeError
from dria_magpie.models import NodeInfo, Task, TaskResult
from dria_magpie.network.slots import Slots
from dria_magpie.node import Event, Node
from dria_magpie.node.fit import Fit, describe, fit
from dria_magpie.workflow import ExecutionState, Workflow

logger = logging.getLogger(__name__)
HOW_TO_SERVE = (
    "Serve the model with --endpoint URL, DRIA_ENDPOINT=URL or Dria(nodes=[Node(engine=...)]); "
    "`dria-magpie models` lists what can run in this process."
)


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
        self._down: dict[str, DriaMagpieError] = {}
        self._slots = Slots(())

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The nodes that have started, with the number of dialogues that they run now."""
        return tuple(
            replace(node.info, running=self._slots.taken(index))
            for index, node in enumerate(self._up)
        )

    async def start(self) -> None:
        """Start the nodes.

        Raises:
            EngineError: no node could start; the text says why.
        """
        if self._up:
            return
        try:
            outcomes = await asyncio.gather(*(_start(node) for node in self._nodes))
        except BaseException:
            await asyncio.gather(*(node.aclose() for node in self._nodes))
            raise
        self._up = tuple(n for n, error in zip(self._nodes, outcomes, strict=True) if not error)
        errors = [(n, error) for n, error in zip(self._nodes, outcomes, strict=True) if error]
        if not self._up:
            raise errors[0][1]
        self._down = {node.engines: error for node, error in errors}
        for where, error in self._down.items():
            logger.warning("%s is left out: %s", where, error, extra={"action": "node_left_out"})
        self._slots = Slots([node.info.slots for node in self._up])

    async def aclose(self) -> None:
        """Stop the nodes."""
        up, self._up = self._up, ()
        await asyncio.gather(*(node.aclose() for node in up))

    async def run(
        self, task: Task, state: ExecutionState | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run a task on the first free node that serves what it needs; see `Network.run`."""
        # A run keeps to the nodes that it began with, should the network be closed under it.
        up, slots = self._up, self._slots
        try:
            workflow = Workflow.parse(task.workflow)
            fits = self._candidates(task, workflow)
        except DriaMagpieError as error:
            yield TaskResult(id=task.key, error=error, step_name=task.step_name)
            return
        index = await slots.take(fits)
        try:
            run = up[index].run(task, workflow, fits[index].model, state)
            async with aclosing(run) as events:
                async for event in events:
                    yield event
        finally:
            slots.give_back(index)

    def _candidates(self, task: Task, workflow: Workflow) -> dict[int, Fit]:
        infos = [node.info for node in self._up]
        fits = {index: fit(info, task, workflow) for index, info in enumerate(infos)}
        able = {index: decision for index, decision in fits.items() if not decision.reason}
        if able:
            return able
        reasons = [f"{describe(infos[i])}: {decision.reason}" for i, decision in fits.items()]
        reasons += [f"{where} did not start: {error}" for where, error in self._down.items()]
        raise NoNodeError(
            "no node can run this task.\n  " + "\n  ".join(reasons) + "\n" + HOW_TO_SERVE
        )


async def _start(node: Node) -> DriaMagpieError | None:
    try:
        await node.start()
    except DriaMagpieError as error:
        return error
    return None
