"""What the user wrote: recipes and personas, and what is wrong with them."""

from __future__ import annotations

from dria_magpie.sweep.recipe.parts import (
    Limits,
    ModelChoice,
    Pairing,
    PersonaSource,
    SystemPromptChoice,
)
from dria_magpie.sweep.recipe.personas import Personas, read_personas
from dria_magpie.sweep.recipe.recipe import SIDES, Recipe

__all__ = [
    "SIDES",
    "Limits",
    "ModelChoice",
    "Pairing",
    "PersonaSource",
    "Personas",
    "Recipe",
    "SystemPromptChoice",
    "read_personas",
]
