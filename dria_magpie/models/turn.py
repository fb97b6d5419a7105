"""A turn: one message that a model wrote in a run, with everything that says how it came about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic_core import from_json

from dria_magpie.errors import InvalidInputError, StateError
from dria_magpie.models.generation import Sampling

_UNSAID = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One finished generation of a run.

    Attributes:
        task_id: the id of the graph's task that asked for it.
        text: the message, verbatim, without reasoning.
        reasoning: what a reasoning model thought; never part of the dialogue.
        model: the name of the model that ran.
        finish_reason: ``stop``, or ``length`` if the message was cut off.
        prompt_tokens: tokens of the prompt.
        cached_tokens: how many of them came from the engine's prefix cache.
        completion_tokens: tokens that were generated.
        seconds: wall time of the generation, failed attempts included.
        attempts: calls that were made for it.
        sampling: how its tokens were drawn, as far as the task said.
        node: the address of the node that made it; ``local`` in the same process.
    """

    task_id: str
    text: str
    model: str
    reasoning: str = ""
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 1
    sampling: Sampling = _UNSAID
    node: str = "local"

    @property
    def seed(self) -> int | None:
        """The seed of this call, or None if the engine drew one."""
        return self.sampling.seed

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON object."""
        values = {name: getattr(self, name) for name in _KINDS}
        return {**values, "sampling": self.sampling.to_dict()}

    @classmethod
    def from_json(cls, text: str) -> Turn:
        """Read what `to_dict` gave from JSON.

        Raises:
            StateError: a field is missing, unknown or of the wrong type.
            ValueError, RecursionError: it is no JSON.
        """
        try:
            # Each text is new, and a cache of texts would only cost.
            values = from_json(text, cache_strings="none")
        except (TypeError, ValueError):
            # It refuses half characters, which a model may say. What else is wrong this one tells.
            values = json.loads(text)
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Turn:
        """Read what `to_dict` gave.

        Raises:
            StateError: a field is missing, unknown or of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise StateError(f"a turn is a JSON object, not {values!r:.80}")
        for name, value in values.items():
            kinds = _KINDS.get(name)
            if kinds is None or type(value) not in kinds:
                raise StateError(f"turn.{name} cannot be {value!r:.80}")
            if name in _NUMBERS and not 0 <= value < 2**53:
                raise StateError(f"turn.{name} is a number from 0, not {value!r:.80}")
        try:
            return cls(**{**values, "sampling": Sampling.from_dict(values.get("sampling", {}))})
        except (InvalidInputError, TypeError) as error:
            raise StateError(f"not a turn: {error}") from error


def join_models(turns: Iterable[Turn]) -> str:
    """Give the names of the models that ran, in the order of their first turns."""
    return ", ".join(dict.fromkeys(turn.model for turn in turns))


_WHOLE = ("prompt_tokens", "cached_tokens", "completion_tokens", "attempts")
_NUMBERS = {*_WHOLE, "seconds"}
_KINDS: dict[str, tuple[type, ...]] = {field.name: (str,) for field in fields(Turn)} | {
    **dict.fromkeys(_WHOLE, (int,)),
    "seconds": (float, int),
    "sampling": (dict,),
}
