"""What goes into a language model and what comes out: the seam between graphs and engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

from dria_magpie.errors import InvalidInputError

Role = Literal["system", "user", "assistant"]
ANY_MODEL = "*"
MOST_TOKENS = 2**31


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        content: the text, verbatim.
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. None leaves a choice to the engine.

    Attributes:
        temperature: 0 is greedy; 1 is the model's own distribution.
        top_p: nucleus probability, above 0 and at most 1.
        top_k: how many tokens are considered; 0 means all.
        min_p: least probability in relation to the likeliest token, 0 to 1.
        max_tokens: the most tokens of one message, 1 or more.
        stop: texts that end the message; they are not part of it.
        seed: 0 to 2**31 - 1. Step number `n` of a run (from 0) uses ``seed + n``. The same seed
            gives the same text as far as the engine goes: on the embedded model for a dialogue
            that runs alone in a new engine. Calls that run together share batches and caches,
            and their rounding, which may turn a word.
        frequency_penalty: -2 to 2.
        presence_penalty: -2 to 2.
        repetition_penalty: above 0; 1 is none.

    Raises:
        InvalidInputError: a value out of its range.

    Example::

        Sampling(temperature=0.7, max_tokens=200, seed=7)
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        if self.stop != ():
            object.__setattr__(self, "stop", _read_stop(self.stop))
        for name, (low, high, whole) in _RANGES.items():
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value, low, high, whole)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sampling:
        """Read a mapping of the attributes' names; null counts as absent.

        Raises:
            InvalidInputError: an unknown name, or a value out of its range.
        """
        if not values:
            return _UNSAID
        unknown = set(map(str, values)).difference(_SAMPLING_NAMES)
        if unknown:
            raise InvalidInputError(
                f"unknown sampling parameter {', '.join(sorted(unknown))}; "
                f"known are {', '.join(sorted(_SAMPLING_NAMES))}"
            )
        return cls(**{name: value for name, value in values.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """Give the attributes that are set, ready for JSON."""
        # Not asdict, which copies every value: that took a fifth of a whole call.
        values = {name: getattr(self, name) for name in _SAMPLING_NAMES}
        chosen = {name: value for name, value in values.items() if value is not None}
        if self.stop:
            chosen["stop"] = list(self.stop)
        else:
            del chosen["stop"]
        return chosen

    def evolve(self, **changes: Any) -> Sampling:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)


_RANGES: dict[str, tuple[float, float, bool]] = {
    "temperature": (0, 100, False),
    "top_p": (1e-9, 1, False),
    "top_k": (0, 2**31 - 1, True),
    "min_p": (0, 1, False),
    "max_tokens": (1, 2**31 - 1, True),
    "seed": (0, 2**31 - 1, True),
    "frequency_penalty": (-2, 2, False),
    "presence_penalty": (-2, 2, False),
    "repetition_penalty": (1e-9, 100, False),
}
_SAMPLING_NAMES = tuple(field.name for field in fields(Sampling))
_UNSAID = Sampling()


def _read_stop(stop: Any) -> tuple[str, ...]:
    if not isinstance(stop, (str, list, tuple)):
        raise InvalidInputError(f"stop takes a list of texts, not {stop!r}")
    texts = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(text and isinstance(text, str) for text in texts):
        raise InvalidInputError(f"stop takes non-empty texts, not {texts!r}")
    return texts


def _check_number(name: str, value: object, low: float, high: float, whole: bool) -> None:
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right_type or not low <= value <= high:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        least = 0 if low == 1e-9 else low
        raise InvalidInputError(f"{name} takes {kind} from {least} to {high}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One call to a language model.

    Attributes:
        model: the model's name as the engine serves it.
        messages: the prompt, oldest first.
        sampling: how tokens are drawn.
        response_format: OpenAI's ``response_format`` object, or None for free text.
        open_user_turn: the last message is an empty user message that the model is to write.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    response_format: Mapping[str, Any] | None = None
    open_user_turn: bool = False

    def evolve(self, **changes: Any) -> GenerationRequest:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a language model answered.

    Attributes:
        text: the answer without reasoning, verbatim.
        reasoning: what a reasoning model thought; empty for others.
        finish_reason: ``stop`` if the model ended by itself, ``length`` if it was cut off.
        model: the name of the model that ran.
        prompt_tokens: tokens of the prompt, 0 if the engine does not say.
        cached_tokens: how many of them came from the engine's prefix cache.
        completion_tokens: tokens that were generated.
        attempts: calls that were made for this answer, failed ones included.
    """

    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    model: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 1

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "attempts"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < MOST_TOKENS:
                raise InvalidInputError(f"{name} takes a number below {MOST_TOKENS}, not {value!r}")

    def evolve(self, **changes: Any) -> Generation:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)


class Engine(Protocol):
    """Something that generates text: the only seam to language models.

    `start` is called once before the first `generate`, and again after `aclose`; both, and
    `drain`, may be called when there is nothing to do. `generate` runs many times at once; when
    its task is cancelled, the work behind it stops.
    """

    @property
    def models(self) -> tuple[str, ...]:
        """Served models, the default first; ``("*",)`` for any. Known after `start`."""

    @property
    def slots(self) -> int:
        """How many calls run at once without waiting for each other."""

    @property
    def address(self) -> str:
        """Where the engine is, for people: an URL, a file, or a word."""

    async def start(self) -> None:
        """Make ready; raise `EngineError` with the reason if that fails."""

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer one request.

        Raises:
            EngineError: no answer could be had; what is worth trying again has been.
            DrainedError: `drain` came first.
        """

    def drain(self) -> None:
        """Begin no further call, and let those under way go on; `start` takes it back.

        Calls that wait for their turn or for their next attempt end at once in a `DrainedError`,
        and so does each later one. A call under way that fails is not made again.
        """

    async def aclose(self) -> None:
        """Give back every connection, process and file."""
