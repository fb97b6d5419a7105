"""The recipe of a sweep, as it is written in TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from dria_magpie.errors import InvalidInputError
from dria_magpie.models import Sampling
from dria_magpie.sweep.recipe.errors import explain
from dria_magpie.sweep.recipe.parts import (
    Count,
    Limits,
    ModelChoice,
    Pairing,
    Part,
    PersonaSource,
    Seed,
    SystemPromptChoice,
    Text,
)

ROW_SEEDS = "rows draw seeds of their own from the recipe's `seed`"
SIDES = {"personas", "instructors", "responders"}
_BELONGS = {
    "dialogue": {
        "instructors",
        "responders",
        "pairing",
        "topic",
        "language",
        "instructor_sampling",
        "responder_sampling",
    },
    "self_synthesis": {
        "system_prompts",
        "end_with_user",
        "only_instruction",
        "instruction_sampling",
        "response_sampling",
    },
}


class Recipe(Part):
    """Everything that a sweep is made of; see ``docs/sweeps.md`` for each key.

    Example::

        recipe = Recipe.read(Path("workflows/persona_sweep.toml"))
    """

    kind: Literal["dialogue", "self_synthesis"] = "dialogue"
    personas: PersonaSource | None = None
    instructors: PersonaSource | None = None
    responders: PersonaSource | None = None
    pairing: Pairing = Pairing()
    system_prompts: tuple[SystemPromptChoice, ...] = ()
    rows: Count | None = None
    turns: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = (1, 1)
    end_with_user: bool = False
    only_instruction: bool = False
    topic: Text | None = None
    language: Text | None = None
    models: tuple[ModelChoice, ...] = ()
    sampling: dict[str, Any] = Field(default_factory=dict)
    instructor_sampling: dict[str, Any] = Field(default_factory=dict)
    responder_sampling: dict[str, Any] = Field(default_factory=dict)
    instruction_sampling: dict[str, Any] = Field(default_factory=dict)
    response_sampling: dict[str, Any] = Field(default_factory=dict)
    seed: Seed = 0
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    limits: Limits = Limits()

    @field_validator("turns", mode="before")
    @classmethod
    def _read_range(cls, value: Any) -> Any:
        pair = (value, value) if isinstance(value, int) else value
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError("takes a number, or a range such as [2, 4]")
        return pair

    @field_validator("turns")
    @classmethod
    def _check_range(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] > value[1]:
            raise ValueError("takes a range from low to high")
        return value

    @field_validator(
        "sampling",
        "instructor_sampling",
        "responder_sampling",
        "instruction_sampling",
        "response_sampling",
    )
    @classmethod
    def _check_sampling(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "seed" in value:
            raise ValueError(f"takes no seed: {ROW_SEEDS}")
        if cls.model_fields.keys() & value.keys():
            raise ValueError("keys of the recipe itself stand before the first [table]")
        return Sampling.from_dict(value).to_dict()

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        for kind, keys in _BELONGS.items():
            foreign = sorted(keys & self.model_fields_set)
            if kind != self.kind and foreign:
                raise ValueError(f"{', '.join(foreign)}: only with kind = {kind!r}")
        return self._check_dialogue() if self.kind == "dialogue" else self._check_self_synthesis()

    def _check_dialogue(self) -> Self:
        sides = (self.instructors, self.responders)
        if self.personas is not None and any(sides):
            raise ValueError("give personas for both sides, or instructors and responders")
        if self.personas is None and not all(sides):
            raise ValueError("give personas, or instructors and responders")
        if self.personas is not None and self.pairing.kind == "zip":
            raise ValueError("pairing = 'zip' takes instructors and responders, not personas")
        return self

    def _check_self_synthesis(self) -> Self:
        if self.rows is None and self.personas is None:
            raise ValueError("rows: say how many, or give personas for a row each")
        for choice in self.system_prompts:
            if ("{persona}" in choice.prompt) != (self.personas is not None):
                raise ValueError(
                    "system_prompts: with personas each says {persona} where the row's is to "
                    f"stand, and without personas none does; not {choice.prompt!r:.80}"
                )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Give what was said, as a JSON object; of files only the names."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        for side in SIDES & values.keys():
            if "file" in values[side]:
                values[side]["file"] = Path(values[side]["file"]).name
        for model in values.get("models", ()):
            if model["name"].endswith(".gguf") and not model["name"].startswith("hf:"):
                model["name"] = Path(model["name"]).name
        return values

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe from a TOML file.

        Raises:
            InvalidInputError: the file cannot be read, is no TOML, or has a key that is unknown
                or cannot have its value; the text names the key.
        """
        try:
            text = path.read_text("utf-8-sig")
            values = tomllib.loads(text)
        except OSError as error:
            raise InvalidInputError(f"cannot read the recipe: {error}") from error
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path} is not TOML: {error}") from error
        recipe = cls.of(values, where=str(path), text=text)
        sources = {side: _find(getattr(recipe, side), path.parent) for side in SIDES}
        return recipe.model_copy(update=sources)

    @classmethod
    def of(cls, values: Mapping[str, Any], *, where: str = "recipe", text: str = "") -> Recipe:
        """Read a recipe from a mapping of the same shape.

        Raises:
            InvalidInputError: a key is unknown or cannot have its value; the text names it.
        """
        try:
            return cls.model_validate(_freeze(values))
        except ValidationError as error:
            raise InvalidInputError(explain(error, where, values, text, cls)) from error
        except RecursionError as error:
            raise InvalidInputError(f"{where} has lists in lists, too deep to be read") from error


def _find(source: PersonaSource | None, folder: Path) -> PersonaSource | None:
    if source is None or source.file is None:
        return source
    return source.model_copy(update={"file": str((folder / source.path).absolute())})


def _freeze(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_freeze, value))
    return {k: _freeze(v) for k, v in value.items()} if isinstance(value, Mapping) else value
