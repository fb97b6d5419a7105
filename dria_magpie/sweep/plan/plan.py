"""The plan of a sweep: any of its rows, at once."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from typing import Any

from dria_magpie.magpie.chance import draw, seed_of_call
from dria_magpie.models import Task
from dria_magpie.sweep.plan.conversations import Conversations
from dria_magpie.sweep.plan.dialogues import Dialogues
from dria_magpie.sweep.plan.material import Material, Origin
from dria_magpie.sweep.recipe import SIDES, Recipe

# Each attempt at a row has seeds of its own, or an answer that was empty would be empty again.
ATTEMPTS_WITH_OWN_SEEDS = 8
MAY_CHANGE = {"rows", "limits"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """A row as it is to be made.

    Attributes:
        number: position in the plan, from 0.
        id: the same for the same recipe and number.
        seed: what the first attempt draws by; see `Sampling.seed`.
        origin: what it is made from, by the names of the columns of an export.
        turns: of question and answer.
        model: the model's name; "" for whatever is served.
    """

    number: int
    id: str
    seed: int
    origin: Origin
    turns: int
    model: str


@dataclass(frozen=True)
class Plan:
    """Rows as a function of a recipe: nothing is drawn, and nothing held, before it is asked for.

    Attributes:
        recipe: what the rows follow from.
        material: what they are made from.

    Example::

        plan = Plan.of(Recipe.read(path))
        plan[0].origin, plan.task(plan[0])
    """

    recipe: Recipe
    material: Material

    @classmethod
    def of(cls, recipe: Recipe) -> Plan:
        """Read the personas of a recipe and give its plan.

        Raises:
            InvalidInputError: personas cannot be read, or do not fit the pairing.
        """
        kind = Dialogues if recipe.kind == "dialogue" else Conversations
        return cls(recipe, kind.of(recipe))

    @cached_property
    def digest(self) -> str:
        """What every row depends on, in 64 letters: fixed keys of the recipe, and personas."""
        text = json.dumps([self.fixed, *self.material.identity], sort_keys=True)
        return sha256(text.encode()).hexdigest()

    @property
    def fixed(self) -> dict[str, Any]:
        """The keys of the recipe that must stay the same; personas count by themselves."""
        said = self.recipe.to_dict()
        return {key: value for key, value in said.items() if key not in MAY_CHANGE | SIDES}

    def __len__(self) -> int:
        return self.recipe.rows or self.material.count

    def __iter__(self) -> Iterator[PlannedRow]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> PlannedRow:
        if not 0 <= number < len(self):
            raise IndexError(f"the plan has rows 0 to {len(self) - 1}, not {number}")
        return PlannedRow(
            number=number,
            id=f"{number:06d}-{draw(self.digest, 'id', number):016x}",
            seed=self._seed(number, 0),
            origin=self.material.origin(number),
            turns=self.turns(number),
            model=self._model(number),
        )

    def turns(self, number: int) -> int:
        """Give how many turns of question and answer a row has."""
        low, high = self.recipe.turns
        return low + draw(self.recipe.seed, "turns", number) % (high - low + 1)

    def messages(self, number: int) -> int:
        """Give how many messages a row has."""
        return self.material.messages(self.turns(number))

    def task(self, row: PlannedRow, attempt: int = 0) -> Task:
        """Give the task that makes a row.

        Args:
            row: one of the plan's rows.
            attempt: from 0; another attempt draws other numbers.
        """
        seed = self._seed(row.number, attempt)
        workflow = self.material.workflow(row.origin, row.turns, seed)
        return Task(workflow=workflow, models=[row.model] if row.model else [], id=row.id)

    def _seed(self, number: int, attempt: int) -> int:
        """Give a seed such that the calls of two rows, or of two attempts, never share one."""
        calls = 2 * self.recipe.turns[1]
        place = number * ATTEMPTS_WITH_OWN_SEEDS + attempt % ATTEMPTS_WITH_OWN_SEEDS
        return seed_of_call(self.recipe.seed, place * calls)

    def _model(self, number: int) -> str:
        models = self.recipe.models
        if not models:
            return ""
        heights = list(accumulate(model.weight for model in models))
        place = draw(self.recipe.seed, "model", number) / 2**64 * heights[-1]
        return models[min(bisect_right(heights, place), len(models) - 1)].name
