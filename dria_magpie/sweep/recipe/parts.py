"""The tables within a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dria_magpie.errors import InvalidInputError

Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Count = Annotated[int, Field(ge=1, le=10**12)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Weight = Annotated[float, Field(gt=0, le=10**9, allow_inf_nan=False)]


class Part(BaseModel):
    """A table of a recipe: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PersonaSource(Part):
    """Where personas come from: written here, or a file.

    Attributes:
        inline: the personas themselves.
        file: a ``.txt`` (a line each), ``.csv``, ``.jsonl`` or ``.parquet`` file. In a recipe's
            file a relative path begins at that file, else at the working directory.
        column: the column or key in it; by default ``persona``, or the only one.
    """

    inline: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    file: Text | None = None
    column: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return {"inline": value}
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.inline is None) == (self.file is None):
            raise ValueError("takes either a list of personas or { file = ... }")
        if self.inline is not None and self.column is not None:
            raise ValueError("column belongs to a file")
        return self

    @property
    def path(self) -> Path:
        """Where the file is.

        Raises:
            InvalidInputError: no file can have this name.
        """
        file = str(self.file)
        try:
            if "\0" in file:
                raise InvalidInputError("there is a NUL character in it")
            return Path(file).expanduser()
        except (InvalidInputError, RuntimeError) as error:
            raise InvalidInputError(f"no file can be named {file!r}: {error}") from error


class Pairing(Part):
    """Who talks to whom.

    Attributes:
        kind: ``zip`` pairs the first with the first and so on; ``product`` everyone with everyone;
            ``random`` takes the pairs of the product in an order drawn by chance, none twice.
        count: for ``random``: how many pairs; by default all.
        seed: for ``random``: another seed, another order; by default the recipe's.
    """

    kind: Literal["zip", "product", "random"] = "product"
    count: Count | None = None
    seed: Seed | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind != "random" and (self.count is not None or self.seed is not None):
            raise ValueError('count and seed belong to kind = "random"')
        return self


class ModelChoice(Part):
    """A model, and its share of the rows in relation to the other models' weights."""

    name: Text
    weight: Weight = 1.0

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class SystemPromptChoice(Part):
    """A system prompt, and its share of the rows in relation to the others' weights.

    Attributes:
        prompt: the text; with personas, ``{persona}`` in it stands for the row's.
        key: a name for it, which rows keep beside the text.
        weight: its share.
    """

    prompt: Text
    key: Text | None = None
    weight: Weight = 1.0

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: Any) -> Any:
        return {"prompt": value} if isinstance(value, str) else value


class Limits(Part):
    """What a sweep may use in all, over every session; None for no limit.

    Attributes:
        rows: rows that are finished, failed ones included.
        tokens: tokens of prompts and completions together.
        seconds: time in which the sweep ran.
    """

    rows: Count | None = None
    tokens: Count | None = None
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
