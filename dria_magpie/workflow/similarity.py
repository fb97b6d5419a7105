"""Likeness of texts for ``insert`` and ``HaveSimilar``: cosine over counts of character trigrams.

The old executor embeds with a model of its own. A threshold of 0.95 asks for near-duplicates, which
trigrams find as well, without a model, and with the same answer on every machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

CHUNK = 250
SHORTEST = 25
THRESHOLD = 0.95


def split_chunks(text: str) -> tuple[str, ...]:
    """Cut a text into pieces of at most 250 characters; pieces below 25 are left out."""
    pieces = (text[i : i + CHUNK] for i in range(0, len(text), CHUNK))
    return tuple(piece for piece in pieces if len(piece) >= SHORTEST)


def has_similar(text: str, chunks: Iterable[str]) -> bool:
    """Tell whether any chunk is nearly the same text."""
    counts = _trigrams(text)
    return any(_cosine(counts, _trigrams(chunk)) > THRESHOLD for chunk in chunks)


def likeness(left: str, right: str) -> float:
    """Give the cosine of two texts' trigrams: 0 for nothing in common, 1 for the same text."""
    return min(1.0, _cosine(_trigrams(left), _trigrams(right)))


def _trigrams(text: str) -> Counter[str]:
    padded = f"  {' '.join(text.lower().split())}  "
    return Counter(padded[i : i + 3] for i in range(len(padded) - 2))


def _cosine(left: Counter[str], right: Counter[str]) -> float:
    product = sum(count * right[gram] for gram, count in left.items())
    return product / math.sqrt(_square(left) * _square(right))


def _square(counts: Counter[str]) -> int:
    return sum(count * count for count in counts.values())
