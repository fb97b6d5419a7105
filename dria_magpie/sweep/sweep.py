"""`Sweep`: a recipe, and the run directory that it fills."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, aclosing
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from dria_magpie.client import Dria
from dria_magpie.errors import InvalidInputError, StoreError
from dria_magpie.sweep.ending import SAMPLED, STOPPED, Ending
from dria_magpie.sweep.forecast import MOST_SAMPLED, Forecast, forecast, sample_plan
from dria_magpie.sweep.plan import Plan
from dria_magpie.sweep.recipe import Recipe
from dria_magpie.sweep.resume import prepare_store
from dria_magpie.sweep.row import Row
from dria_magpie.sweep.run import SweepRun
from dria_magpie.sweep.run_dir import RunDir
from dria_magpie.sweep.session import Session
from dria_magpie.sweep.status import Status, read_status
from dria_magpie.sweep.store import RunLock, Store
from dria_magpie.sweep.store.reading import read_unbegun, read_unfinished

logger = logging.getLogger(__name__)


class Sweep:
    """Thousands of dialogues between pairs of personas, made in as many sessions as it takes.

    A sweep may be killed at any time: `run` goes on where the store stands, inside of a dialogue
    too, and no turn that was kept is asked for again.

    Args:
        plan: the rows to make.
        run_dir: where they are kept.
        name: what the sweep is called.

    Attributes:
        plan: the rows to make.
        run_dir: reads what was made.
        name: what the sweep is called.
        ending: why the last `run` ended; None before.

    Example::

        sweep = Sweep.from_recipe("workflows/persona_sweep.toml", "runs/first")
        async with Dria() as dria:
            async for row in sweep.run(dria):
                print(row.id, row.status, row.messages)
        sweep.run_dir.export("data/dialogues.jsonl", format="messages")
    """

    def __init__(self, plan: Plan, run_dir: str | Path, *, name: str = "sweep") -> None:
        self.plan = plan
        self.run_dir = RunDir(run_dir)
        self.ending: Ending | None = None
        self.name = name
        self._run: SweepRun | None = None

    @classmethod
    def from_recipe(
        cls, recipe: str | Path | Mapping[str, Any] | Recipe, run_dir: str | Path
    ) -> Sweep:
        """Give the sweep of a recipe.

        Args:
            recipe: a TOML file, a mapping of the same shape, or a `Recipe`.
            run_dir: the directory for what is made; it is created when the sweep runs.

        Raises:
            InvalidInputError: the recipe or its personas cannot work; the text names the key, the
                file or the line.
        """
        if isinstance(recipe, (str, Path)):
            path = Path(recipe)
            return cls(Plan.of(Recipe.read(path)), run_dir, name=path.stem)
        if not isinstance(recipe, Recipe):
            recipe = Recipe.of(recipe)
        return cls(Plan.of(recipe), run_dir)

    @property
    def run_id(self) -> str:
        """What the sweep is called on a network: the same in every session, and only there.

        It follows from the recipe and from where the run directory is, so that two directories of
        one recipe share nothing.
        """
        place = f"{self.plan.digest}\n{self.run_dir.path.resolve()}"
        return sha256(place.encode()).hexdigest()[:32]

    async def run(self, dria: Dria, *, retry_failed: bool = False) -> AsyncGenerator[Row, None]:
        """Make the rows that are missing; give each as it ends, done or failed.

        Leaving the loop early breaks off the calls under way and keeps everything before them.

        Args:
            dria: runs the dialogues, as many at once as its nodes have slots. A sweep that is
                stopped, or uses up its tokens, drains and closes it; the next use opens it again.
            retry_failed: take up the rows again that failed in earlier sessions.

        Raises:
            InvalidInputError: the directory belongs to another recipe.
            StoreError: the store is full, damaged, or another process makes this sweep.
            DriaMagpieError: the nodes cannot be started.
        """
        async with aclosing(self._session(dria, self.plan, retry_failed=retry_failed)) as rows:
            async for row in rows:
                yield row

    async def forecast(self, dria: Dria) -> Forecast:
        """Make a few rows, if there are none, and estimate what all of them will cost.

        The rows are kept. If the recipe is changed before the first `run`, they are dropped.

        Raises:
            DriaMagpieError: as with `run`; or none of the rows is done, and the text says why.
        """
        plan = sample_plan(self.plan, self.run_dir.status() if self.run_dir.exists else None)
        async with aclosing(self._session(dria, plan, trial=True)) as rows:
            async for _ in rows:
                pass
        concurrency = sum(node.slots for node in await dria.nodes())
        sample = islice(self.run_dir.rows(), MOST_SAMPLED)
        ending = self.ending.reason if self.ending else ""
        return forecast(self.plan, sample, concurrency=concurrency, ending=ending)

    async def _session(
        self, dria: Dria, plan: Plan, *, retry_failed: bool = False, trial: bool = False
    ) -> AsyncGenerator[Row, None]:
        if self._run:
            raise InvalidInputError(
                "this sweep runs already; leave an earlier loop with contextlib.aclosing"
            )
        with ExitStack() as stack:
            store = self._open(stack)
            prepare_store(store, plan, self.name, trial=trial)
            if retry_failed:
                store.take_up_failed()
            session = Session(store, read_status(store, active=True))
            run = self._run = SweepRun(plan, store, session, dria)
            stack.push(partial(self._close, run, session, trial))
            begun, new = read_unfinished(store), read_unbegun(store, len(plan))
            async with aclosing(run.rows(begun, new)) as rows:
                async for row in rows:
                    yield row

    def stop(self) -> int:
        """Begin nothing new; give how many rows are under way, whose calls finish and are kept."""
        if not self._run:
            return 0
        self._run.stop(STOPPED)
        return self._run.running

    def progress(self) -> Status | None:
        """Give how far the sweep has come, from memory; None while it does not run."""
        return self._run.status() if self._run else None

    def _open(self, stack: ExitStack) -> Store:
        path = self.run_dir.path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(f"cannot make the run directory {path}: {error}") from error
        stack.enter_context(RunLock(path))
        return stack.enter_context(Store.open(path))

    def _close(
        self,
        run: SweepRun,
        session: Session,
        trial: bool,
        kind: type[BaseException] | None,
        *_: object,
    ) -> None:
        self.ending, self._run = run.ending, None
        if trial and run.ending and run.ending.kind == "limit":
            self.ending = SAMPLED
        try:
            session.write(str(self.ending or ""))
        except StoreError:
            if kind is None:
                raise
            context = {"action": "session_end_lost"}
            logger.warning("the store could not take how the session ended", extra=context)
