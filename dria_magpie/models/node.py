"""What is known about a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dria_magpie.models.generation import ANY_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """A node as a network sees it.

    Attributes:
        address: the node's name in the network; ``local`` in the same process.
        models: names of the served models, the default first; ``"*"`` stands for any.
        slots: dialogues that the node runs at once.
        running: dialogues that it runs now.
    """

    address: str
    models: tuple[str, ...]
    slots: int
    running: int = 0

    def choose_model(self, wanted: Sequence[str]) -> str | None:
        """Give the first wanted model that the node serves; None if it serves none of them.

        With nothing wanted, that is the node's default.
        """
        if not wanted:
            return None if self.models == (ANY_MODEL,) else next(iter(self.models), None)
        any_model = ANY_MODEL in self.models
        return next((name for name in wanted if any_model or name in self.models), None)
