"""How well a model can be extracted, before a long run depends on it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from dria_magpie.engines.prompts.cross_check import check_against_family
from dria_magpie.engines.prompts.families import find_family
from dria_magpie.engines.prompts.pre_query import RawPrompt
from dria_magpie.errors import EmptyCompletionError
from dria_magpie.factory.arguments import check_whole
from dria_magpie.factory.self_synthesis import INSTRUCTION_SAMPLING
from dria_magpie.magpie.chance import MOST_SEED, seed_of_call
from dria_magpie.models import Engine, Generation, GenerationRequest, Message, Sampling
from dria_magpie.node.instructions import find_fault

EXAMPLES = 5
_LEAST_LETTERS = 0.5
_WORD = re.compile(r"[^\W\d_]{2,}")


class RawEngine(Engine, Protocol):
    """An engine that writes raw prompts."""

    async def raw_prompt(self, model: str, messages: Sequence[Message]) -> RawPrompt:
        """Give the prompt that is sent for an open user turn."""


@dataclass(frozen=True, slots=True)
class Probed:
    """One instruction that was drawn.

    Attributes:
        text: what the model wrote, without blanks around it.
        fault: why it is not usable: ``empty``, ``cut``, ``leak``, ``label``, ``system prompt``,
            ``no language`` or ``duplicate``; "" if it is.
    """

    text: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """How well a model can be extracted.

    Attributes:
        model: its name.
        drawn: how many instructions were drawn.
        faults: how many of them were not usable, by fault.
        examples: some that are usable.
        bad_examples: for each fault one that has it.
        template: what the prompt was made from.
        check: what the table of known families says of it; "" if it knows no such model.
        prompt: the prompt, as it is sent.
    """

    model: str
    drawn: int
    faults: dict[str, int]
    examples: list[str]
    bad_examples: dict[str, str]
    template: str
    check: str
    prompt: str

    @property
    def usable(self) -> float:
        """The share of usable instructions, 0 to 1."""
        return 1 - sum(self.faults.values()) / self.drawn if self.drawn else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON object."""
        return {**asdict(self), "usable": self.usable}


async def probe(engine: RawEngine, model: str, number: int = 36, *, seed: int = 0) -> ProbeReport:
    """Draw instructions without trying any again, and judge them.

    Args:
        engine: started; it is not closed.
        model: the model's name.
        number: how many instructions.
        seed: another one, other instructions; 0 to 2**63 - 1.

    Raises:
        InvalidInputError: a seed out of its range.
        UnsupportedError: no raw prompts, or no known template; the text says what to do.
        EngineError: the engine does not answer.
    """
    check_whole("seed", seed, 0, MOST_SEED)
    messages = (Message("user", ""),)
    prompt = await engine.raw_prompt(model, messages)
    requests = [_ask(model, messages, seed_of_call(seed, position)) for position in range(number)]
    drawn = judge(await asyncio.gather(*(_draw(engine, request) for request in requests)), model)
    bad = {item.fault: item.text for item in reversed(drawn) if item.fault}
    return ProbeReport(
        model=model,
        drawn=len(drawn),
        faults=dict(Counter(item.fault for item in drawn if item.fault)),
        examples=[item.text for item in drawn if not item.fault][:EXAMPLES],
        bad_examples=bad,
        template=prompt.source,
        check=_check(prompt, model),
        prompt=prompt.text,
    )


def _check(prompt: RawPrompt, model: str) -> str:
    family = find_family(model)
    if family is None:
        return ""
    # An endpoint that puts the first token there itself is sent a prompt without it
    known = family if prompt.bos else replace(family, bos="")
    return check_against_family(prompt, known).reason


def judge(generations: Sequence[Generation], model: str) -> list[Probed]:
    """Judge instructions, each in the light of those before it."""
    request = GenerationRequest(model=model, messages=(Message("user", ""),))
    seen: set[str] = set()
    judged = []
    for generation in generations:
        text = generation.text.strip()
        fault = find_fault(generation, request)
        kind = fault.kind if fault else _language_fault(text)
        plain = " ".join(_WORD.findall(text.lower())) or text
        if not kind and plain in seen:
            kind = "duplicate"
        seen.add(plain)
        judged.append(Probed(text, kind))
    return judged


def _language_fault(text: str) -> str:
    if not text:
        return "empty"
    letters = sum(c.isalpha() or c.isspace() for c in text) / len(text)
    return "" if letters >= _LEAST_LETTERS and _WORD.search(text) else "no language"


def _ask(model: str, messages: tuple[Message, ...], seed: int) -> GenerationRequest:
    sampling: Sampling = INSTRUCTION_SAMPLING.evolve(seed=seed)
    return GenerationRequest(model=model, messages=messages, sampling=sampling, open_user_turn=True)


async def _draw(engine: Engine, request: GenerationRequest) -> Generation:
    try:
        return await engine.generate(request)
    except EmptyCompletionError:
        return Generation(text="", model=request.model)
