"""What a node has earned: how much it gets to do, and when it gets nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from dria_magpie.errors import StateError

Outcome = Literal["completed", "rejected", "timed out", "invalid", "disputed"]

# A good result closes a twentieth of the gap to 1: seven lead from nothing above the threshold,
# however many tasks a machine lost when it was switched off. A bad one keeps this share of the
# score: a new node is paused after 17 rejections, 3 time-outs, or 1 lie.
GAIN = 0.05
KEPT: dict[str, float] = {"rejected": 0.97, "timed out": 0.8, "invalid": 0.5, "disputed": 0.2}
THRESHOLD, FIRST_PAUSE, LONGEST_PAUSE = 0.3, 30.0, 3600.0
# Broken messages are seen each time, so ten good results make up for one: who breaks one in a
# hundred is barred within 10,000 tasks with a chance of 0.00005, who breaks one in ten surely.
MOST_LIES, LIES_PER_GOOD = 5.0, 0.1
# Few results are spot-checked, so a good one most likely was not, and proves little: who always
# cheats is barred if more than one in 500 is checked. Three losses within 250 results bar.
MOST_DOUBTS, DOUBTS_PER_GOOD = 2.5, 0.002


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a node gets tasks.

    Attributes:
        kind: ``good``; ``paused`` for some time; ``barred`` for good.
        reason: why, for people; "" if there is nothing to say.
    """

    kind: Literal["good", "paused", "barred"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reputation:
    """A node's record.

    Attributes:
        score: 0 to 1; between nodes that have as much room, the better one is chosen.
        completed: results that were accepted.
        rejected: tasks that were refused or handed back.
        timed_out: tasks that were never started, or lost, or made no progress.
        invalid: messages that were a lie or broken.
        disputed: spot checks that were lost.
        paused_until: when the last pause ends, in seconds as `now` counts them.
        pauses: how often the next pause is doubled.
        lies, doubts: invalid and disputed ones that good results have not made up for yet.
    """

    score: float = 0.5
    completed: int = 0
    rejected: int = 0
    timed_out: int = 0
    invalid: int = 0
    disputed: int = 0
    paused_until: float = 0.0
    pauses: int = 0
    lies: float = 0.0
    doubts: float = 0.0

    @property
    def barred(self) -> bool:
        """Whether lies and lost spot checks are too many; good results change it no more."""
        return self.lies / MOST_LIES + self.doubts / MOST_DOUBTS >= 1

    @property
    def on_trial(self) -> bool:
        """Whether the node gets one task at a time, once it is not paused."""
        return self.score < THRESHOLD

    def paused(self, now: float) -> bool:
        """Tell whether a pause is on, and not one from before the clock was set back."""
        return 0 < self.paused_until - now <= LONGEST_PAUSE

    def standing(self, now: float) -> Standing:
        """Tell whether the node gets tasks."""
        if self.barred:
            said = f"{self.invalid} invalid messages and {self.disputed} lost spot checks"
            return Standing("barred", said)
        record = (
            f"{self.completed} tasks completed, {self.rejected} rejected, "
            f"{self.timed_out} timed out, {self.invalid} invalid, {self.disputed} disputed"
        )
        if self.paused(now):
            return Standing("paused", record)
        return Standing("good", f"one task at a time: {record}" if self.on_trial else "")

    def after(self, outcome: Outcome, now: float) -> Reputation:
        """Give the record with one more outcome."""
        name = outcome.replace(" ", "_")
        counted = replace(self, **{name: getattr(self, name) + 1})
        return _raise(counted) if outcome == "completed" else _lower(counted, outcome, now)

    def evolve(self, **changes: Any) -> Reputation:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reputation:
        """Read what `to_dict` gave.

        Raises:
            StateError: a field is missing, unknown, of the wrong type or out of its range.
        """
        given: Any = values
        if not isinstance(given, Mapping) or set(given) != set(_KINDS):
            raise StateError(f"a reputation has the fields {', '.join(_KINDS)}, not {given!r:.80}")
        for name, value in values.items():
            kinds = (int, float) if _KINDS[name] is float else (int,)
            most = 1 if name == "score" else 2**53
            # Not a number compares as false.
            if type(value) not in kinds or not 0 <= value <= most:
                raise StateError(f"reputation.{name} is a number to {most}, not {value!r:.80}")
        return cls(**{name: _KINDS[name](value) for name, value in values.items()})


def _raise(record: Reputation) -> Reputation:
    better = record.evolve(score=record.score + GAIN * (1 - record.score))
    if not better.on_trial:
        better = better.evolve(pauses=max(0, record.pauses - 1))
    if record.barred:
        return better
    lies = max(0.0, record.lies - LIES_PER_GOOD)
    return better.evolve(lies=lies, doubts=max(0.0, record.doubts - DOUBTS_PER_GOOD))


def _lower(record: Reputation, outcome: Outcome, now: float) -> Reputation:
    worse = record.evolve(
        score=record.score * KEPT[outcome],
        lies=record.lies + (outcome == "invalid"),
        doubts=record.doubts + (outcome == "disputed"),
    )
    # What was under way before a pause ends during it, all at once, and is no reason for another.
    if not worse.on_trial or worse.paused(now):
        return worse
    length = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(worse.pauses, 7))
    return worse.evolve(paused_until=now + length, pauses=worse.pauses + 1)


_KINDS: dict[str, type] = {field.name: type(field.default) for field in fields(Reputation)}
