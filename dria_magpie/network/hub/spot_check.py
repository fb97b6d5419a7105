"""Spot checks: some tasks run on two nodes; if their texts do not go together, a third decides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile

from dria_magpie.errors import InvalidInputError
from dria_magpie.workflow.similarity import likeness

# An honest engine repeats its text if it runs alone. In a batch its rounding differs, and a sampled
# text parts from the first after a word or two as often as not: what comes then is another text on
# the same subject, written by the same model. Measured on the embedded model at temperature 0.8,
# one to four turns of which the longer run has 600 characters: 389 pairs of honest ones had a
# likeness of 0.27 or more, and 94 % of stock answers (a refusal, a greeting, filler) had less
# than 0.25. Shorter honest pairs go down to 0.07. So a check finds who does not do the work, not
# who does it with a somewhat worse model: no likeness of texts tells these from honest ones.
LIKENESS = 0.25
TELLING = 600
# From here on a character is a word or a syllable: two texts share few trigrams, honest or not.
_IDEOGRAPHS = "\u2e80"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether two runs of one task go together.

    Attributes:
        agree: whether the same model may have written both.
        likeness: of the whole dialogues, 0 to 1.
        reason: why, for people; without any of the texts.
    """

    agree: bool
    likeness: float
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who is outvoted.

    Attributes:
        liars: positions of the runs that do not go with two that do; empty or one.
        reason: why, for people.
    """

    liars: tuple[int, ...]
    reason: str


def is_chosen(task_id: str, share: float, secret: bytes) -> bool:
    """Tell whether a task is checked; only who has the secret can foretell it.

    Args:
        task_id: the task's id.
        share: how many tasks are checked, 0 to 1.
        secret: the hub's own bytes, 16 to 64 of them.

    Raises:
        InvalidInputError: a secret that can be guessed, or is too long.
    """
    if not 16 <= len(secret) <= hashlib.blake2b.MAX_KEY_SIZE:
        raise InvalidInputError(f"secret takes 16 to 64 bytes, not {len(secret)}")
    name = task_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, key=secret, digest_size=8, person=b"spot check").digest()
    return int.from_bytes(digest) < share * 2**64


def compare(first: Sequence[str], second: Sequence[str]) -> Comparison:
    """Compare the texts of two runs' turns, oldest first."""
    if list(first) == list(second):
        return Comparison(True, 1.0, "the texts are the same")
    left, right = "\n".join(first), "\n".join(second)
    alike = likeness(left, right)
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    )
    said = f"they part after {same} characters, and their likeness is {alike:.2f}"
    if max(len(left), len(right)) < TELLING:
        return Comparison(True, alike, f"{said}, which tells nothing of so short texts")
    if _is_ideographic(left) and _is_ideographic(right):
        return Comparison(True, alike, f"{said}, which tells nothing in this script")
    if alike >= LIKENESS:
        return Comparison(True, alike, f"{said}, as with two runs of one model")
    return Comparison(False, alike, f"{said}; runs of one model have {LIKENESS} or more")


def judge(
    first: Sequence[str], second: Sequence[str], third: Sequence[str] | None = None
) -> Judgement:
    """Decide who is outvoted among two or three runs of one task."""
    runs = [first, second] if third is None else [first, second, third]
    pairs = combinations(range(len(runs)), 2)
    found = {(one, two): compare(runs[one], runs[two]) for one, two in pairs}
    agreeing = [pair for pair, comparison in found.items() if comparison.agree]
    if len(agreeing) == len(found):
        return Judgement((), "all agree")
    if len(runs) < 3:
        return Judgement((), f"the two disagree, and only a third can decide: {found[0, 1].reason}")
    if len(agreeing) != 1:
        said = "no two agree" if not agreeing else "one goes with both of the others"
        return Judgement((), f"{said}, so nobody is outvoted")
    [odd] = set(range(3)) - set(agreeing[0])
    against = "; ".join(comparison.reason for pair, comparison in found.items() if odd in pair)
    return Judgement((odd,), f"the other two agree, and this one with neither: {against}")


def _is_ideographic(text: str) -> bool:
    return sum(char >= _IDEOGRAPHS for char in text) > len(text) / 2
