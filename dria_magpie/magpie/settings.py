"""What `Magpie` and `MagpieGenerator` have in common: settings, tasks, rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from dria_magpie.errors import InvalidInputError
from dria_magpie.factory import SelfSynthesis
from dria_magpie.factory.arguments import (
    check_switch,
    check_turns,
    check_whole,
    read_sampling,
    show,
)
from dria_magpie.magpie.chance import MOST_SEED, SEEDS, seed_of_call
from dria_magpie.magpie.metadata import read_metadata
from dria_magpie.magpie.system_prompts import (
    MULTI_TURN,
    SystemPrompt,
    SystemPromptArgument,
    SystemPrompts,
)
from dria_magpie.models import Sampling, Task, TaskResult

_UNSAID = Sampling()
_SAMPLINGS = ("instruction_sampling", "response_sampling")
_SWITCHES = ("end_with_user", "include_system_prompt", "only_instruction")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How conversations are drawn. The names and defaults are those of distilabel's tasks.

    Attributes:
        n_turns: the user's messages with their answers.
        end_with_user: leave the last answer out.
        include_system_prompt: put the system prompt before the messages of a ``conversation``.
        only_instruction: one message of the user, whatever `n_turns` says.
        system_prompt: one, a list, a mapping of key to prompt, or of key to (prompt, share);
            each row gets one of them. Without one, conversations of several turns get a prompt
            of the package's own, as many models end after the first answer else.
        models: names of models, any of which will do; empty for whatever is served.
        instruction_sampling: how the user's messages are drawn; see `SelfSynthesis`. A mapping of
            a `Sampling`'s names will do.
        response_sampling: how answers are drawn.
        seed: the same seed gives the same rows, as far as the engine goes; 0 to 2**63 - 1.
        shard: which part of a job this is, from 0; no two parts share a call's seed.
        num_shards: how many parts the job has.

    Raises:
        InvalidInputError: an attribute that cannot work.
    """

    n_turns: int = 1
    end_with_user: bool = False
    include_system_prompt: bool = False
    only_instruction: bool = False
    system_prompt: SystemPromptArgument = None
    models: tuple[str, ...] = ()
    instruction_sampling: Sampling = _UNSAID
    response_sampling: Sampling = _UNSAID
    seed: int = 0
    shard: int = 0
    num_shards: int = 1
    _prompts: SystemPrompts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_turns(self.n_turns, "n_turns")
        for name in _SWITCHES:
            check_switch(name, getattr(self, name))
        check_whole("seed", self.seed, 0, MOST_SEED)
        check_whole("num_shards", self.num_shards, 1, SEEDS)
        if check_whole("shard", self.shard, 0, SEEDS - 1) >= self.num_shards:
            raise InvalidInputError(
                f"shard takes 0 to num_shards - 1 ({self.num_shards - 1}), not {self.shard}"
            )
        object.__setattr__(self, "models", _read_models(self.models))
        for name in _SAMPLINGS:
            object.__setattr__(self, name, read_sampling(name, getattr(self, name)))
        object.__setattr__(self, "_prompts", SystemPrompts.of(self.system_prompt))

    @property
    def outputs(self) -> list[str]:
        """The columns that every row gets, in their order."""
        if self.only_instruction:
            columns = ["instruction"]
        else:
            columns = ["instruction", "response"] if self.n_turns == 1 else ["conversation"]
        return [*columns, *(["system_prompt_key"] if self._prompts.keyed else []), "model_name"]

    def evolve(self, **changes: Any) -> Self:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Give the attributes, ready for JSON; the class takes them back as arguments."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        values["models"] = list(self.models)
        for name in _SAMPLINGS:
            values[name] = values[name].to_dict()
        return values

    def choose_prompt(self, number: int) -> SystemPrompt:
        """Give the system prompt of a row by its number."""
        chosen = self._prompts.choose(self.seed, self._place(number))
        if chosen.text is None and self.n_turns > 1 and not self.only_instruction:
            return SystemPrompt(MULTI_TURN)
        return chosen

    def task(self, number: int, prompt: SystemPrompt) -> Task:
        """Give the task that makes a row."""
        # A call of the conversation adds its number
        seed = seed_of_call(self.seed, self._place(number) * 2 * self.n_turns)
        workflow = SelfSynthesis().workflow(
            prompt.text,
            self.n_turns,
            end_with_user=self.end_with_user,
            only_instruction=self.only_instruction,
            instruction_sampling=self.instruction_sampling.evolve(seed=seed),
            response_sampling=self.response_sampling.evolve(seed=seed),
        )
        return Task(workflow=workflow, models=self.models, id=f"row-{self._place(number)}")

    def _place(self, number: int) -> int:
        return number * self.num_shards + self.shard

    def columns(self, prompt: SystemPrompt, result: TaskResult) -> dict[str, Any]:
        """Give the columns of a row from its result; a failed one has empty columns."""
        row = dict(self._content(prompt, result))
        if self._prompts.keyed:
            row["system_prompt_key"] = prompt.key
        row["model_name"] = result.model or None
        row["metadata"] = read_metadata(result)
        return row

    def _content(self, prompt: SystemPrompt, result: TaskResult) -> Mapping[str, Any]:
        failed = result.error is not None
        texts = [] if failed else [turn.text for turn in result.turns]
        if self.only_instruction:
            return {"instruction": texts[0] if texts else None}
        if self.n_turns == 1:
            first, second = [*texts, None, None][:2]
            return {"instruction": first, "response": second}
        messages = [
            {"role": "assistant" if position % 2 else "user", "content": text}
            for position, text in enumerate(texts)
        ]
        if messages and self.include_system_prompt and prompt.text is not None:
            messages.insert(0, {"role": "system", "content": prompt.text})
        return {"conversation": messages}


def _read_models(given: object) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else None
    if names is None or not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidInputError(
            f"models takes a list of model names, such as ['qwen3:8b'], not {show(given)}"
        )
    return names
