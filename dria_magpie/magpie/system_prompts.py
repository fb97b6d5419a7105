"""Which system prompt a row gets."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from dria_magpie.errors import InvalidInputError
from dria_magpie.factory.arguments import check_text, show
from dria_magpie.magpie.chance import draw

SystemPromptArgument = (
    str | Sequence[str] | Mapping[str, str] | Mapping[str, tuple[str, float]] | None
)
MULTI_TURN = (
    "A user talks with a helpful and honest assistant over several messages. The user asks for "
    "what they want to know or to have done, and comes back to the answers: with a question about "
    "them, a correction, or the next step. The assistant answers each message in full."
)


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """A system prompt, and the key under which it was given.

    Attributes:
        text: the prompt; None for none.
        key: its key; None if it had none.
    """

    text: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class SystemPrompts:
    """System prompts with their shares of the rows.

    Attributes:
        prompts: the prompts; empty for none.
        heights: for each the sum of the shares up to it.
        keyed: whether they were given under keys.
    """

    prompts: tuple[SystemPrompt, ...] = ()
    heights: tuple[float, ...] = ()
    keyed: bool = False

    @classmethod
    def of(cls, given: SystemPromptArgument) -> SystemPrompts:
        """Read one prompt, a list, or a mapping of key to prompt or to prompt and share.

        Raises:
            InvalidInputError: something else, nothing in it, or shares whose sum is not 1.
        """
        if given is None:
            return cls()
        if isinstance(given, str):
            return cls((SystemPrompt(check_text("system_prompt", given)),), (1.0,))
        if not given or not isinstance(given, (Mapping, Sequence)):
            raise InvalidInputError(
                "system_prompt takes a text, a list of texts, or a mapping of key to text or to "
                f"(text, share), with at least one; not {show(given)}"
            )
        if isinstance(given, Mapping):
            return _read_mapping(given)
        texts = tuple(SystemPrompt(check_text("system_prompt", text)) for text in given)
        return cls(texts, _even(len(texts)))

    def choose(self, seed: int, number: int) -> SystemPrompt:
        """Give the prompt of a row; the same seed and number give the same one."""
        if not self.prompts:
            return SystemPrompt()
        place = draw(seed, "system prompt", number) / 2**64 * self.heights[-1]
        return self.prompts[min(bisect_right(self.heights, place), len(self.prompts) - 1)]


def _read_mapping(given: Mapping[str, object]) -> SystemPrompts:
    prompts, shares = [], []
    for key, value in given.items():
        text, share = _split(key, value)
        prompts.append(SystemPrompt(check_text(f"system_prompt[{key!r}]", text), str(key)))
        if share is not None:
            shares.append(share)
    if not shares:
        return SystemPrompts(tuple(prompts), _even(len(prompts)), keyed=True)
    if len(shares) < len(prompts):
        raise InvalidInputError("system_prompt takes a share of 0 to 1 for each key, or for none")
    # Ten times 0.1 is not quite 1.
    if not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise InvalidInputError(
            f"system_prompt: the sum of the weights must be equal to 1.0, not {sum(shares)}"
        )
    return SystemPrompts(tuple(prompts), tuple(accumulate(shares)), keyed=True)


def _split(key: str, value: object) -> tuple[object, float | None]:
    """Give a text and its share; None where none is given."""
    if not isinstance(value, (tuple, list)):
        return value, None
    if len(value) != 2:
        raise InvalidInputError(f"system_prompt[{key!r}] takes (text, share), not {show(value)}")
    text, share = value
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
        raise InvalidInputError(
            f"system_prompt[{key!r}] takes a share of 0 to 1, not {show(share)}"
        )
    return text, share


def _even(number: int) -> tuple[float, ...]:
    return tuple(float(position + 1) for position in range(number))
