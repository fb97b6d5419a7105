"""What an export is told, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the card tells besides what it counts itself.

    Attributes:
        name: of the sweep, for example the recipe's file name without suffix.
        recipe: what the sweep was made from, as JSON takes it. The card shows all of it, so it
            holds no keys.
        planned: rows in the plan.
        failed: rows that failed for good.
        license: an identifier of the hub, such as ``apache-2.0`` or ``unknown``.
    """

    name: str
    recipe: Mapping[str, Any]
    planned: int
    failed: int
    license: str

    @property
    def kind(self) -> str:
        """The recipe's kind, which says what rows are made from."""
        return str(self.recipe.get("kind", "dialogue"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        file: the data.
        rows: dialogues in it.
        cut_off: messages in it that were cut off at their token cap.
        card: the card as it was named, which is not README.md where a foreign one is in place.
    """

    file: Path
    rows: int
    cut_off: int
    card: Path
