"""A row of a sweep that came to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dria_magpie.errors import DriaMagpieError
from dria_magpie.models import Message, TaskResult, Turn
from dria_magpie.sweep.plan import PlannedRow

RowStatus = Literal["done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A dialogue that was finished, or failed for good.

    Attributes:
        number: position in the plan, from 0.
        id: the same for the same recipe, wherever and whenever it runs.
        seed: the seed of the row's first call; those of later calls follow from it.
        status: ``done`` or ``failed``.
        origin: what it was made from; see `PlannedRow.origin`.
        messages: the dialogue, ``user`` and ``assistant`` by turns; for a failed row, what was
            said before the failure.
        turns: how each message came about: model, tokens, finish reason, sampling, node.
        model: the model that ran; several are joined by ``", "``.
        node: the address of the node that ran it last.
        attempts: how often the row was begun anew or carried on after a failure, from 1.
        seconds: time spent generating.
        reason: why a failed row failed: the name of an error, with the status that an endpoint
            answered with, such as "EndpointError 400"; "" for a row that is done.
        error: the same in words.
    """

    number: int
    id: str
    seed: int
    status: RowStatus
    origin: Mapping[str, str]
    messages: tuple[Message, ...] = ()
    turns: tuple[Turn, ...] = ()
    model: str = ""
    node: str = ""
    attempts: int = 1
    seconds: float = 0.0
    reason: str = ""
    error: str = ""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(turn.prompt_tokens for turn in self.turns)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that came from the engine's prefix cache."""
        return sum(turn.cached_tokens for turn in self.turns)

    @property
    def completion_tokens(self) -> int:
        """Tokens that were generated."""
        return sum(turn.completion_tokens for turn in self.turns)

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why each message ended: ``stop``, or ``length`` if it was cut off."""
        return tuple(turn.finish_reason for turn in self.turns)


def make_row(planned: PlannedRow, result: TaskResult, *, attempts: int) -> Row:
    """Give the row that a result ends."""
    return Row(
        number=planned.number,
        id=planned.id,
        seed=planned.seed,
        status="failed" if result.error else "done",
        origin=planned.origin,
        messages=make_messages(result.turns),
        turns=result.turns,
        model=result.model,
        node=result.node,
        attempts=attempts,
        seconds=result.seconds,
        reason=describe_reason(result.error),
        error=str(result.error or ""),
    )


def describe_reason(error: DriaMagpieError | None) -> str:
    """Give the reason under which a failure is counted; "" for none."""
    if error is None:
        return ""
    status = getattr(error, "status", None)
    return type(error).__name__ + (f" {status}" if status else "")


def make_messages(turns: tuple[Turn, ...]) -> tuple[Message, ...]:
    """Give the dialogue of a row: who asks is the user, who answers the assistant."""
    return tuple(
        Message("assistant" if position % 2 else "user", turn.text)
        for position, turn in enumerate(turns)
    )
