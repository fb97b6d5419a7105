"""The dialogues that the embedded model holds."""

from __future__ import annotations

from dria_magpie import MagPie, Sampling, Task

DIALOGUES = 16
PAIRS = (
    ("A curious scientist", "An AI assistant"),
    ("A gardener with a small balcony", "A botanist"),
    ("A child who asks about the stars", "A patient astronomer"),
    ("A cook who tries something new", "A grandmother from Naples"),
)
SAMPLING = Sampling(temperature=0.8, max_tokens=48)


def dialogue(number: int, turns: int) -> Task:
    """Give one of the dialogues; the same number is the same dialogue, seeds included."""
    sampling = SAMPLING.evolve(seed=seed(number))
    graph = MagPie().workflow(
        *PAIRS[number % len(PAIRS)],
        turns,
        instructor_sampling=sampling,
        responder_sampling=sampling,
    )
    return Task(workflow=graph, id=str(number))


def seed(number: int) -> int:
    """Give the seed of a dialogue's first message; each later one has one more."""
    return 1000 * number
