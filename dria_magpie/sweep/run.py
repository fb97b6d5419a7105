"""The loop of a sweep: rows begun as there is room, each turn kept before the next call."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from itertools import chain, count

from dria_magpie.client import Dria
from dria_magpie.client.stream import Stream
from dria_magpie.errors import DrainedError, DriaMagpieError
from dria_magpie.models import TaskResult
from dria_magpie.node.results import make_result
from dria_magpie.sweep.brake import Brake
from dria_magpie.sweep.ending import DRAINED, LEFT, Ending
from dria_magpie.sweep.outage import Outage
from dria_magpie.sweep.plan import Plan, PlannedRow
from dria_magpie.sweep.retry import decide_retry
from dria_magpie.sweep.row import Row, make_row
from dria_magpie.sweep.session import Session
from dria_magpie.sweep.status import Status
from dria_magpie.sweep.store import SavedRow, Store
from dria_magpie.sweep.store.reading import read_saved

logger = logging.getLogger(__name__)
Ended = tuple[PlannedRow, SavedRow, TaskResult]


class SweepRun:
    """One session: from where the store stands to the end of the plan, or to a reason to stop.

    Args:
        plan: what is to be made.
        store: what was made, open for writing.
        session: counts what is used.
        dria: runs the rows.
    """

    def __init__(self, plan: Plan, store: Store, session: Session, dria: Dria) -> None:
        self._plan = plan
        self._store = store
        self._session = session
        self._dria = dria
        self._brake = Brake(plan.recipe.limits, session, dria.drain)
        self._outage: Outage[Ended] = Outage(works=session.turns > 0)
        self._begun: frozenset[int] = frozenset()

    @property
    def ending(self) -> Ending | None:
        """Why the sweep ended; None while it goes on."""
        return self._brake.ending

    @property
    def running(self) -> int:
        """How many rows are being made."""
        return self._brake.running

    def status(self) -> Status:
        """Give how far the sweep has come."""
        return self._session.status(running=self.running)

    def stop(self, ending: Ending) -> None:
        """Begin no further row and no further call; those under way finish, and are kept."""
        self._brake.stop(ending)

    async def rows(self, begun: Collection[int], new: Iterable[int]) -> AsyncGenerator[Row, None]:
        """Make rows, and give each as it ends.

        Args:
            begun: numbers of rows that earlier sessions began.
            new: numbers of rows that nobody has begun.

        Raises:
            StoreError: a turn could not be kept.
            DriaMagpieError: the nodes cannot be started.
        """
        self._begun = frozenset(begun)
        try:
            with self._brake.watch():
                window = sum(node.slots for node in await self._dria.nodes())
                numbers = self._brake.let_in(chain(begun, new))
                async with aclosing(Stream(numbers, self._make, window).results()) as results:
                    async for _, rows in results:
                        for row in rows:
                            yield row
                for row in self._record([] if self.ending else self._outage.release_all()):
                    yield row
                self._brake.finish()
        except DriaMagpieError as error:
            self._brake.halt(Ending("halted", str(error)))
            raise
        finally:
            self._brake.leave(LEFT)
            if self._brake.drained:
                await self._dria.aclose()  # which takes the drain back

    async def _make(self, number: int) -> list[Row]:
        rows = await self._brake.guard(self._make_row(number)) or []
        return rows + self._record(self._outage.release())

    async def _make_row(self, number: int) -> list[Row]:
        if self.ending:
            return []
        planned = self._plan[number]
        saved = self._begin(planned)
        for attempts in count(1):
            result = await self._attempt(planned, saved)
            if result and not result.error:
                return self._record([(planned, saved, result)])
            if result and isinstance(result.error, DrainedError):
                self._brake.leave(DRAINED)
            if not result or not result.error or self.ending:
                break  # it was stopped, and its state is kept
            retry = decide_retry(result.error, attempts, self._plan.recipe.retries)
            if not retry.again:
                logger.info("a row failed: %s", retry.reason, extra={"action": "row_failed"})
                ending = self._outage.add((planned, saved, result), result.error, retry)
                if ending:
                    self.stop(ending)
                break
            saved = self._begin_again(number)
        return []

    def _begin(self, planned: PlannedRow) -> SavedRow:
        if planned.number in self._begun:
            saved = read_saved(self._store, planned.number)
            ended = saved.state is not None and saved.state.error is not None
            return self._begin_again(planned.number) if ended else saved
        self._store.begin(planned)
        return SavedRow(planned.number)

    async def _attempt(self, planned: PlannedRow, saved: SavedRow) -> TaskResult | None:
        """Run a row to its result; None if the sweep is stopped meanwhile."""
        task, state = self._plan.task(planned, saved.attempts - 1), saved.state
        async with aclosing(self._dria.run(task, state)) as events:
            async for event in events:
                if isinstance(event, TaskResult):
                    return event
                state = event.state
                self._store.keep_turn(planned.number, state)
                self._session.add_turn(event.turn)
                if not self.ending:  # an answer that was under way says nothing of an outage
                    self._outage.turn_done()
                self._brake.check()
                if self.ending and state.step is not None:
                    return None
        return make_result(task, state, error=DriaMagpieError("the network gave no result"))

    def _begin_again(self, number: int) -> SavedRow:
        saved = read_saved(self._store, number)
        failed = saved.state is None or saved.state.error is not None
        state = None if failed else saved.state
        self._store.begin_again(number, saved.attempts + 1, state)
        return SavedRow(number, saved.attempts + 1, state)

    def _record(self, ended: Iterable[Ended]) -> list[Row]:
        rows = []
        for planned, saved, result in ended:
            row = make_row(planned, result, attempts=saved.attempts)
            self._store.finish(row)
            self._session.add_row(row)
            rows.append(row)
        return rows
