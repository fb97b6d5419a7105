"""What a sweep will cost, from a few of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from dria_magpie.errors import DriaMagpieError
from dria_magpie.sweep.plan import Plan
from dria_magpie.sweep.row import Row
from dria_magpie.sweep.status import Status

SAMPLE = 4
MOST_SAMPLED = 100
_COUNTED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the whole plan will cost, the rows that were made included.

    Attributes:
        rows: rows in the plan.
        calls: calls to a model, if none fails.
        sampled: real rows that the estimate comes from; they are kept.
        prompt_tokens: estimated tokens of all prompts.
        completion_tokens: estimated tokens that will be generated.
        seconds: estimated time, if the nodes are as fast with every slot in use.
        concurrency: dialogues at once.
    """

    rows: int
    calls: int
    sampled: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    concurrency: int

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON object."""
        return asdict(self)


def sample_plan(plan: Plan, status: Status | None) -> Plan:
    """Give the same plan with a limit of rows, so that a few are made first and kept.

    Args:
        plan: the whole plan.
        status: how far the sweep has come; None if it has not begun.
    """
    limits = plan.recipe.limits
    done, failed = (status.done, status.failed) if status else (0, 0)
    most = max(SAMPLE, done) + failed
    most = min(most, limits.rows or most)
    update = {"limits": limits.model_copy(update={"rows": most})}
    return replace(plan, recipe=plan.recipe.model_copy(update=update))


def forecast(plan: Plan, rows: Iterable[Row], *, concurrency: int, ending: str = "") -> Forecast:
    """Estimate what a plan will cost.

    Each prompt repeats the messages before it, so that the prompts of a dialogue grow by one
    message from call to call; the estimate does, too.

    Args:
        plan: what is to be made.
        rows: rows that were made; the first done ones are the sample.
        concurrency: dialogues at once.
        ending: how the session ended that made the rows.

    Raises:
        DriaMagpieError: none of the rows is done; the text says why they failed.
    """
    ended = list(rows)
    sample = [row for row in ended if row.status == "done"]
    if not sample:
        why = next((row.error for row in ended), ending or "no row was made")
        raise DriaMagpieError(f"there is no row to estimate from; {why}")
    calls = [(position, turn) for row in sample for position, turn in enumerate(row.turns)]
    message = fmean(turn.completion_tokens for _, turn in calls)
    first = fmean(turn.prompt_tokens - position * message for position, turn in calls)
    total, before = _count_messages(plan)
    seconds = fmean(turn.seconds for _, turn in calls) * total / min(concurrency, len(plan))
    return Forecast(
        rows=len(plan),
        calls=total,
        sampled=len(sample),
        prompt_tokens=round(max(first, 0) * total + message * before),
        completion_tokens=round(message * total),
        seconds=seconds,
        concurrency=concurrency,
    )


def _count_messages(plan: Plan) -> tuple[int, int]:
    """Give how many messages a plan has, and how many come before each, summed.

    Beyond the first 100,000 rows it is taken that the others have as many turns.
    """
    counted = min(len(plan), _COUNTED)
    messages = [plan.messages(number) for number in range(counted)]
    before = sum(length * (length - 1) // 2 for length in messages)
    return sum(messages) * len(plan) // counted, before * len(plan) // counted
