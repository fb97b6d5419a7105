"""Whether what a model wrote in the user's turn can be a user's message, and trying again."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise

from dria_magpie.errors import EmptyCompletionError, InstructionError
from dria_magpie.models import Generation, GenerationRequest
from dria_magpie.node.leaks import find_label, find_leak, is_blank

logger = logging.getLogger(__name__)
Generate = Callable[[GenerationRequest], Awaitable[Generation]]
MOST_ATTEMPTS = 5
_SEEDS = 2**31
# The seeds of a job follow one another, so that leaps as long as this meet none of them, nor each
# other. An engine that draws an empty answer again leaps a third as far.
_SEED_STRIDE = _SEEDS // MOST_ATTEMPTS

_WORD = re.compile(r"\w+")
_COPIED = 0.8
_LEAST_WORDS = 4


@dataclass(frozen=True, slots=True)
class InstructionFault:
    """Why a text cannot be a user's message.

    Attributes:
        kind: ``cut``, ``empty``, ``leak``, ``label`` or ``system prompt``.
        reason: the same in words.
    """

    kind: str
    reason: str


def find_fault(generation: Generation, request: GenerationRequest) -> InstructionFault | None:
    """Look for what may go wrong with an open user turn.

    Args:
        generation: what the model wrote.
        request: what it was asked.

    Returns:
        The first fault; None for a message that a user could have written.
    """
    text = generation.text
    if generation.finish_reason == "length":
        return InstructionFault("cut", "it was cut off at its token cap")
    if is_blank(text):
        return InstructionFault("empty", "it is empty")
    leak = find_leak(text, request.model)
    if leak:
        return InstructionFault("leak", f"it has {leak[:40]!r} of the chat template in it")
    if generation.reasoning:
        return InstructionFault("leak", "it comes with thoughts, as only answers do")
    label = find_label(text)
    if label:
        return InstructionFault("label", f"it has the role label {label[:30]!r} in it")
    if _continues_system_prompt(text, request):
        return InstructionFault("system prompt", "it goes on with the system prompt")
    return None


def _continues_system_prompt(text: str, request: GenerationRequest) -> bool:
    first = request.messages[0]
    if first.role != "system":
        return False
    words = _WORD.findall(text.lower())
    given = " ".join(_WORD.findall(first.content.lower()))
    if len(words) < _LEAST_WORDS:
        return False
    pairs = [f"{one} {two}" for one, two in pairwise(words)]
    copied = sum(pair in given for pair in pairs) / len(pairs)
    return copied >= _COPIED or text.lstrip()[:1] in {",", ";", "."}


async def generate_instruction(
    generate: Generate, request: GenerationRequest
) -> tuple[Generation, GenerationRequest]:
    """Have a user's message written; with another seed again if it cannot be one.

    Returns:
        The message with all attempts counted, and the request that it came from.

    Raises:
        InstructionError: every attempt ended in a fault; the text names the last one.
        EngineError: no answer could be had.
    """
    attempts, fault = 0, None
    for number in range(MOST_ATTEMPTS):
        asked = _reseed(request, number)
        try:
            generation = await generate(asked)
        except EmptyCompletionError as error:
            attempts += 1
            fault = InstructionFault("empty", f"it is empty: {error}")
        else:
            attempts += generation.attempts
            fault = find_fault(generation, request)
            if fault is None:
                text = generation.text.strip()
                return generation.evolve(text=text, attempts=attempts), asked
        context = {"action": "instruction_dropped", "fault": fault.kind}
        logger.info("an instruction is dropped: %s", fault.kind, extra=context)
    reason = fault.reason if fault else ""
    raise InstructionError(
        f"{request.model} wrote nothing that a user could have written, in {MOST_ATTEMPTS} "
        f"attempts; of the last one: {reason}"
    )


def _reseed(request: GenerationRequest, number: int) -> GenerationRequest:
    seed = request.sampling.seed
    if seed is None or not number:
        return request
    other = (seed + number * _SEED_STRIDE) % _SEEDS
    return request.evolve(sampling=request.sampling.evolve(seed=other))
