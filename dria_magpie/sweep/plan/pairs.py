"""Who talks to whom: the pair with a number, without a list of all pairs."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.errors import InvalidInputError
from dria_magpie.sweep.plan.chance import Shuffle
from dria_magpie.sweep.recipe import Pairing

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of a sweep, as positions of instructor and responder.

    Attributes:
        count: how many there are.
        instructors: how many personas ask.
        responders: how many answer.
        same: both sides come from one list, where nobody talks to himself.
        side_by_side: the first with the first, and so on.
        shuffle: the order of the product; None for the order of the lists.
    """

    count: int
    instructors: int
    responders: int
    same: bool
    side_by_side: bool = False
    shuffle: Shuffle | None = None

    def __getitem__(self, number: int) -> Pair:
        if self.side_by_side:
            return number, number
        if self.shuffle:
            number = self.shuffle[number]
        first, second = divmod(number, self.responders - self.same)
        return first, second + (self.same and second >= first)


def make_pairs(
    pairing: Pairing, instructors: int, responders: int, *, same: bool, seed: int
) -> Pairs:
    """Give the pairs that a recipe asks for.

    Raises:
        InvalidInputError: the numbers of personas do not fit the pairing.
    """
    if pairing.kind == "zip":
        if instructors != responders:
            raise InvalidInputError(
                f"pairing = 'zip' takes as many responders ({responders}) as "
                f"instructors ({instructors})"
            )
        return Pairs(instructors, instructors, responders, same=False, side_by_side=True)
    everything = instructors * (responders - same)
    if not everything:
        raise InvalidInputError("one persona alone has nobody to talk to: give two or more")
    count = pairing.count or everything
    if count > everything:
        raise InvalidInputError(
            f"pairing.count is {count:,}, but there are {everything:,} pairs; "
            "with `rows` above the number of pairs, each is used more than once"
        )
    shuffle = None
    if pairing.kind == "random":
        shuffle = Shuffle(everything, seed if pairing.seed is None else pairing.seed)
    return Pairs(count, instructors, responders, same=same, shuffle=shuffle)
