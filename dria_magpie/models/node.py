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

        With nothing wanted, that is the node's default. A name without a tag is also found under
        the tag ``latest``, which Ollama adds to it.
        """
        served = set(self.models)
        if not wanted:
            return next((name for name in self.models if name != ANY_MODEL), None)
        for name in wanted:
            if name in served or ANY_MODEL in served:
                return name
            if f"{name}:latest" in served:
                return f"{name}:latest"
        return None
