"""`Magpie`: a conversation for each row of a dataset."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any

from dria_magpie.client import Dria
from dria_magpie.errors import InvalidInputError
from dria_magpie.factory.arguments import check_text, show
from dria_magpie.magpie.ordered import map_items, run_in_order
from dria_magpie.magpie.settings import Settings
from dria_magpie.magpie.system_prompts import SystemPrompt
from dria_magpie.models import Task

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Prepared:
    row: Row
    prompt: SystemPrompt
    task: Task
    brings_prompt: bool


@dataclass(frozen=True, kw_only=True)
class Magpie(Settings):
    """Draws a conversation for each row that it is given; see `Settings` for the attributes.

    Example::

        magpie = Magpie(n_turns=2, system_prompt="You are a helpful chemist.")
        async with Dria(nodes=[Node(engine=OpenAIEngine(url))]) as dria:
            async for row in magpie.process([{"id": 1}, {"id": 2}], dria):
                print(row["id"], row["conversation"])
    """

    @property
    def inputs(self) -> dict[str, bool]:
        """The columns that are looked at, and whether a row must have them."""
        return {"system_prompt": False}

    async def process(
        self, rows: Iterable[Row] | AsyncIterable[Row], dria: Dria
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Give each row with its conversation added, in the order of the rows.

        A row's own ``system_prompt`` wins over the attribute, also if it is None.

        Args:
            rows: mappings; read only as far as they are worked on. What reading them raises is
                raised when the rows before it have been given.
            dria: runs the conversations.

        Yields:
            The row's own columns, then those of `outputs`, then ``metadata``: tokens, finish
            reasons and seeds, a value a call, and ``error``. A row that failed for good has None
            in its columns, or an empty conversation; so has one whose own system prompt the
            model does not take.

        Raises:
            UnsupportedError: the engine takes no raw prompts, or not with `system_prompt`.
            InvalidInputError: no rows at all, a row that is no mapping, or a system prompt that
                is no text.
        """
        if not isinstance(rows, (Iterable, AsyncIterable)):
            raise InvalidInputError(f"rows takes an iterable of mappings, not {show(rows)}")
        numbers = count()

        def prepare(row: Row) -> _Prepared:
            number = next(numbers)
            if not isinstance(row, Mapping):
                raise InvalidInputError(f"row {number} is no mapping, but {show(row)}")
            prompt, own = self.choose_prompt(number), row.get("system_prompt")
            if own is not None:
                prompt = SystemPrompt(check_text(f"row {number}: system_prompt", own))
            elif "system_prompt" in row:
                prompt = SystemPrompt()
            return _Prepared(row, prompt, self.task(number, prompt), own is not None)

        results = run_in_order(
            map_items(prepare, rows),
            dria,
            lambda item: item.task,
            is_special=lambda item: item.brings_prompt,
        )
        async with aclosing(results) as made:
            async for item, result in made:
                yield {**item.row, **self.columns(item.prompt, result)}
