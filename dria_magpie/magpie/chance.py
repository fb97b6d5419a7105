"""Chance that can be repeated."""

from __future__ import annotations

from hashlib import blake2b

SEEDS = 2**31
MOST_SEED = 2**63 - 1


def draw(seed: int | str, purpose: str, number: int) -> int:
    """Give one of 2**64 numbers, the same one each time."""
    return int.from_bytes(blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=8).digest())


def seed_of_call(seed: int, place: int) -> int:
    """Give the seed of the call at a place of a job; 2**31 calls of a job share none.

    Args:
        seed: of the job, 0 to 2**63 - 1. Jobs with other seeds begin elsewhere.
        place: from 0.
    """
    return (draw(seed, "seed", 0) + place) % SEEDS
