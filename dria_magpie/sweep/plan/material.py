"""What the rows of a plan are made from: the seam between kinds of recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from dria_magpie.sweep.recipe import Personas
from dria_magpie.workflow import Workflow

Origin = Mapping[str, str]


class Material(Protocol):
    """Gives what a row is made from by its number, and the workflow that makes it."""

    @property
    def count(self) -> int:
        """How many rows there are if the recipe does not say."""

    @property
    def identity(self) -> Sequence[Personas | None]:
        """What rows depend on besides the keys of the recipe."""

    def origin(self, number: int) -> Origin:
        """Give what a row is made from, by the names of the columns of an export."""

    def messages(self, turns: int) -> int:
        """Give how many messages a row of so many turns has."""

    def workflow(self, origin: Origin, turns: int, seed: int) -> Workflow:
        """Give the graph that makes a row."""
