"""Rows that a model draws from itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from dria_magpie.factory import SelfSynthesis
from dria_magpie.magpie.system_prompts import MULTI_TURN, SystemPrompt, SystemPrompts
from dria_magpie.models import Sampling
from dria_magpie.sweep.plan.material import Origin
from dria_magpie.sweep.recipe import Personas, Recipe, read_personas
from dria_magpie.workflow import Workflow

_PERSONA = "{persona}"
_ASKS = (
    "You are a helpful assistant. Whoever talks to you writes in their own words, about what they "
    f"want to know or to have done. They can be described so: {_PERSONA}"
)


@dataclass(frozen=True)
class Conversations:
    """System prompts by their shares, and personas of users by turns.

    Attributes:
        recipe: what the rows follow from.
        personas: who the users are; empty for nobody in particular.
        prompts: what stands before the conversations.
    """

    recipe: Recipe
    personas: Personas
    prompts: SystemPrompts

    @classmethod
    def of(cls, recipe: Recipe) -> Conversations:
        """Read the personas of a recipe.

        Raises:
            InvalidInputError: they cannot be read.
        """
        personas = read_personas(recipe.personas) if recipe.personas else ()
        prompts = [SystemPrompt(choice.prompt, choice.key) for choice in recipe.system_prompts]
        weights = [choice.weight for choice in recipe.system_prompts]
        if not prompts and personas:
            prompts, weights = [SystemPrompt(_ASKS)], [1.0]
        elif not prompts and recipe.turns[1] > 1 and not recipe.only_instruction:
            # Without any, many models end after the first answer.
            prompts, weights = [SystemPrompt(MULTI_TURN)], [1.0]
        return cls(recipe, personas, SystemPrompts(tuple(prompts), tuple(accumulate(weights))))

    @property
    def count(self) -> int:
        """One row a persona."""
        return len(self.personas)

    @property
    def identity(self) -> Sequence[Personas]:
        """The personas."""
        return [self.personas]

    def origin(self, number: int) -> Origin:
        """Give the system prompt that opens a row, "" for none, and where it came from."""
        prompt = self.prompts.choose(self.recipe.seed, number)
        persona = self.personas[number % len(self.personas)] if self.personas else ""
        return {
            "system_prompt": (prompt.text or "").replace(_PERSONA, persona),
            "system_prompt_key": prompt.key or "",
            "persona": persona,
        }

    def messages(self, turns: int) -> int:
        """Each instruction has its answer, unless the recipe says otherwise."""
        return 1 if self.recipe.only_instruction else 2 * turns - self.recipe.end_with_user

    def workflow(self, origin: Origin, turns: int, seed: int) -> Workflow:
        """Give the graph of a conversation."""
        recipe = self.recipe
        both = {**recipe.sampling, "seed": seed}
        return SelfSynthesis().workflow(
            origin["system_prompt"] or None,
            turns,
            end_with_user=recipe.end_with_user,
            only_instruction=recipe.only_instruction,
            instruction_sampling=Sampling(**{**both, **recipe.instruction_sampling}),
            response_sampling=Sampling(**{**both, **recipe.response_sampling}),
        )

    def __str__(self) -> str:
        given = len(self.recipe.system_prompts)
        told = [f"{given:,} system prompts"] if given else []
        if self.personas:
            told.append(f"{len(self.personas):,} personas ({self.personas[0]!r:.50} ...)")
        return " and ".join(told) or "what the model has in itself"
