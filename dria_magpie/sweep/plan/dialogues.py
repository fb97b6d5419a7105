"""Rows in which one persona asks and another answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dria_magpie.factory import MagPie
from dria_magpie.models import Sampling
from dria_magpie.sweep.plan.material import Origin
from dria_magpie.sweep.plan.pairs import Pairs, make_pairs
from dria_magpie.sweep.recipe import Personas, Recipe, read_personas
from dria_magpie.workflow import Workflow


@dataclass(frozen=True)
class Dialogues:
    """Pairs of personas.

    Attributes:
        recipe: what the rows follow from.
        instructors: the personas that ask.
        responders: the personas that answer; the same tuple where both sides share one list.
        pairs: who talks to whom.
    """

    recipe: Recipe
    instructors: Personas
    responders: Personas
    pairs: Pairs

    @classmethod
    def of(cls, recipe: Recipe) -> Dialogues:
        """Read the personas of a recipe, and pair them.

        Raises:
            InvalidInputError: personas cannot be read, or do not fit the pairing.
        """
        if recipe.personas:
            instructors = responders = read_personas(recipe.personas)
        else:
            assert recipe.instructors  # noqa: S101 - the recipe was checked
            assert recipe.responders  # noqa: S101
            instructors = read_personas(recipe.instructors)
            responders = read_personas(recipe.responders)
        pairs = make_pairs(
            recipe.pairing,
            len(instructors),
            len(responders),
            same=bool(recipe.personas),
            seed=recipe.seed,
        )
        return cls(recipe, instructors, responders, pairs)

    @property
    def count(self) -> int:
        """One row a pair."""
        return self.pairs.count

    @property
    def identity(self) -> Sequence[Personas | None]:
        """The personas."""
        return [self.instructors, None if self.recipe.personas else self.responders]

    def origin(self, number: int) -> Origin:
        """Give who talks to whom."""
        instructor, responder = self.pairs[number % self.pairs.count]
        return {
            "instructor_persona": self.instructors[instructor],
            "responding_persona": self.responders[responder],
        }

    def messages(self, turns: int) -> int:
        """Each question has its answer."""
        return 2 * turns

    def workflow(self, origin: Origin, turns: int, seed: int) -> Workflow:
        """Give the graph of a dialogue."""
        recipe = self.recipe
        both = {**recipe.sampling, "seed": seed}
        return MagPie().workflow(
            **origin,
            num_turns=turns,
            topic=recipe.topic,
            language=recipe.language,
            instructor_sampling=Sampling(**{**both, **recipe.instructor_sampling}),
            responder_sampling=Sampling(**{**both, **recipe.responder_sampling}),
        )

    def __str__(self) -> str:
        if self.recipe.personas:
            return _count("personas", self.instructors)
        return (
            f"{_count('instructors', self.instructors)} and {_count('responders', self.responders)}"
        )


def _count(name: str, personas: Personas) -> str:
    return f"{len(personas):,} {name} ({personas[0]!r:.50} ...)"
