"""Chance that can be repeated: a function of a seed, a purpose and a number."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.magpie.chance import draw

_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Shuffle:
    """The numbers from 0 to `size` - 1 in an order drawn by chance, without holding them.

    A Feistel network permutes the numbers of an even number of bits, of which there are less than
    four times `size`; those that are too large are sent through again until one fits.
    """

    size: int
    seed: int

    def __getitem__(self, position: int) -> int:
        half = max(1, ((self.size - 1).bit_length() + 1) // 2)
        value = position
        while True:
            left, right = divmod(value, 1 << half)
            for number in range(_ROUNDS):
                mixed = draw(self.seed, f"shuffle {number}", right)
                left, right = right, left ^ (mixed % (1 << half))
            value = (left << half) | right
            if value < self.size:
                return value
