"""Runs one task on the network; it ends in an item, whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from dria_magpie.client import Dria
from dria_magpie.errors import (
    DriaMagpieError,
    EndpointError,
    EngineError,
    NoNodeError,
    StateError,
    StoreError,
)
from dria_magpie.gateway.catalogue import Catalogue
from dria_magpie.gateway.defects import locate
from dria_magpie.gateway.entry import Entry
from dria_magpie.gateway.identities import Identities
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.retry import AttemptDecision, decide_attempt
from dria_magpie.gateway.seal import Address, Execution, seal_failure, seal_result
from dria_magpie.gateway.store import Kept, Store
from dria_magpie.models import Task, TaskResult
from dria_magpie.node import TurnDone
from dria_magpie.workflow import ExecutionState

logger = logging.getLogger(__name__)
_LOCAL = "local"
# With these, an endpoint refuses every task alike.
_OPERATORS_FAULT = {401, 403, 404}
_STORE_AGAIN = 2.0


@dataclass(slots=True, eq=False)
class _Job:
    """A task that was begun. Times are the loop's, but for `started`."""

    queue: KeyQueue
    entry: Entry
    kept: Kept
    started: float
    began: float
    outages: int = 0
    state: ExecutionState | None = None
    attempt_began: float = 0.0


class Worker:
    """Runs tasks, once each time that it is asked to.

    Args:
        dria: the client.
        store: gets what becomes of a task.
        catalogue: says what models' names stand for.
        identities: sign the items.
    """

    def __init__(
        self, dria: Dria, store: Store, catalogue: Catalogue, identities: Identities
    ) -> None:
        self._dria = dria
        self._store = store
        self._catalogue = catalogue
        self._identities = identities
        self._jobs: dict[Entry, _Job] = {}
        self._succeeded_at = float("-inf")
        self._loop = asyncio.get_running_loop()

    def forget(self, queue: KeyQueue) -> None:
        """Forget the tasks of a key."""
        self._jobs = {entry: job for entry, job in self._jobs.items() if job.queue is not queue}

    async def run(self, queue: KeyQueue, entry: Entry) -> float | None:
        """Run a task.

        Returns:
            Seconds after which it is to be run again; None if it is done.
        """
        job = self._find_job(queue, entry)
        try:
            result = await self._attempt(job)
        except DriaMagpieError as error:
            result = TaskResult(id=entry.id, error=error)
        except Exception as error:  # noqa: BLE001 - a defect costs a task, not the gateway
            context = {"action": "task_broke", "key": queue.key.name, "task_id": entry.id}
            logger.error("a run broke: %s", locate(error), extra=context)  # noqa: TRY400
            result = TaskResult(id=entry.id, error=EngineError(f"it broke: {error!r:.200}"))
        if result is None or result.error is None:
            return None
        return await self._fail(job, result, result.error)

    def _find_job(self, queue: KeyQueue, entry: Entry) -> _Job:
        now = self._loop.time()
        if entry.kept is None:
            raise RuntimeError("a task runs that the store does not have")
        job = self._jobs.get(entry) or _Job(queue, entry, entry.kept, time.time(), now)
        job.attempt_began = now
        self._jobs[entry] = job
        return job

    async def _attempt(self, job: _Job) -> TaskResult | None:
        """Run a task once; None if it has its item, or is not wanted any more."""
        work = await self._store.read_work(job.kept.number)
        if work is None:
            self._jobs.pop(job.entry, None)
            return None
        models = self._catalogue.choose(job.kept.models)
        if not models:
            raise NoNodeError(self._catalogue.refuse(job.kept.models))
        if job.state is None and work.state is not None:
            job.state = _read_state(work.state)
        # Two keys' tasks may have one name, and another attempt is another task: a network that
        # keeps results gives each its own.
        name = f"{job.queue.key.number}.{job.kept.id}.{job.entry.attempts}"
        task = Task(id=name, workflow=work.workflow, models=models)
        async with aclosing(self._dria.run(task, job.state)) as events:
            async for event in events:
                if isinstance(event, TurnDone):
                    await self._keep_turn(job, event)
                elif event.error is not None:
                    return event
                else:
                    # Kept in here: once the loop is left, a network forgets its result.
                    await self._succeed(job, event)
                    return None
        raise EngineError("the network gave no result")

    async def _keep_turn(self, job: _Job, event: TurnDone) -> None:
        """Keep a turn before the next one is paid for."""
        job.state = event.state
        self._succeeded_at = self._loop.time()
        # Turns of other machines come with the result; a state between them would ask for a run
        # of its own.
        if event.turn.node != _LOCAL:
            return
        try:
            await self._store.keep_state(job.kept.number, _write_state(event.state))
        except StoreError as error:
            context = {"action": "turn_not_kept"}
            logger.warning("a turn is not kept: %s", error, extra=context)

    async def _succeed(self, job: _Job, result: TaskResult) -> None:
        self._succeeded_at = self._loop.time()
        text = result.result if result.result is not None else ""
        item = seal_result(self._identities, _address(job), _execution(job, result.model), text)
        await self._finish(job, item)

    async def _fail(self, job: _Job, result: TaskResult, error: DriaMagpieError) -> float | None:
        decision = decide_attempt(
            error,
            failures=job.entry.attempts + 1,
            outages=job.outages + 1,
            others_succeed=self._succeeded_at >= job.attempt_began,
            seconds=self._loop.time() - job.began,
        )
        self._tell(job, error, decision)
        if decision.next == "fail":
            model = result.model or next(iter(job.kept.models))
            item = seal_failure(
                self._identities, _address(job), _execution(job, model), _describe(error)
            )
            await self._finish(job, item)
            return None
        if decision.next == "wait":
            job.outages += 1
        else:
            job.outages = 0
            job.entry.attempts += 1
            await self._keep_attempts(job)
        return decision.delay

    async def _keep_attempts(self, job: _Job) -> None:
        try:
            state = _write_state(job.state) if job.state else None
            await self._store.keep_attempts(job.kept.number, job.entry.attempts, state)
        except StoreError as error:
            logger.warning("an attempt is not counted: %s", error, extra={"action": "not_counted"})

    async def _finish(self, job: _Job, item: str) -> None:
        """Keep an item, however long the disk stays full."""
        while True:
            try:
                await self._store.finish(job.kept.number, item, time.time())
                break
            except StoreError as error:
                context = {"action": "result_not_kept"}
                logger.error("a result waits: %s", error, extra=context)  # noqa: TRY400
                await asyncio.sleep(_STORE_AGAIN)
        self._jobs.pop(job.entry, None)
        job.queue.finish(job.entry, len(item), self._loop.time())

    def _tell(self, job: _Job, error: DriaMagpieError, decision: AttemptDecision) -> None:
        # Not the error's text: it may quote what a model or an endpoint answered.
        context: dict[str, Any] = {
            "action": "task_failed" if decision.next == "fail" else "task_waits",
            "key": job.queue.key.name,
            "task_id": job.kept.id,
            "error": type(error).__name__,
            "attempts": job.entry.attempts + 1,
            "next": decision.next,
        }
        if isinstance(error, EndpointError) and error.status in _OPERATORS_FAULT:
            advice = "a task failed: %s; look at --endpoint, --model and --api-key-env"
            logger.warning(advice, decision.reason, extra=context)
        else:
            logger.info("a task failed: %s", decision.reason, extra=context)


def _address(job: _Job) -> Address:
    return Address(
        task=job.kept.id,
        key_digest=job.queue.key.digest,
        public_key=job.kept.public_key,
        identity=job.kept.identity,
        received=job.kept.received,
    )


def _execution(job: _Job, model: str) -> Execution:
    return Execution(model=model, started=job.started, ended=time.time())


def _describe(error: DriaMagpieError) -> str:
    return f"{type(error).__name__}: {error}"


def _write_state(state: ExecutionState) -> str:
    return json.dumps(state.to_dict())


def _read_state(text: str) -> ExecutionState | None:
    try:
        return ExecutionState.from_dict(json.loads(text))
    except (StateError, ValueError, RecursionError) as error:
        context = {"action": "state_unreadable", "error": type(error).__name__}
        logger.warning("a task is run from its start: its state is damaged", extra=context)
        return None
