"""`MagpieGenerator`: conversations from nothing, exactly as many as were asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any

from dria_magpie.client import Dria
from dria_magpie.factory.arguments import check_whole
from dria_magpie.magpie.ordered import run_in_order
from dria_magpie.magpie.settings import Settings
from dria_magpie.magpie.system_prompts import SystemPrompt
from dria_magpie.models import Task

MOST_FAILURES_IN_A_ROW = 50
MOST_ROWS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Prepared:
    prompt: SystemPrompt
    task: Task


@dataclass(frozen=True, kw_only=True)
class MagpieGenerator(Settings):
    """Draws conversations; see `Settings` for the other attributes.

    Attributes:
        num_rows: how many rows there will be.

    Example::

        generator = MagpieGenerator(num_rows=100, only_instruction=True, seed=7)
        async for row in generator.generate(dria):
            print(row["instruction"])
    """

    num_rows: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("num_rows", self.num_rows, 0, MOST_ROWS)

    async def generate(self, dria: Dria) -> AsyncGenerator[dict[str, Any], None]:
        """Give exactly `num_rows` rows.

        A row that fails for good is left out, and another one, with seeds of its own, takes its
        place. The rows stand in the order of their seeds.

        Args:
            dria: runs the conversations.

        Yields:
            The columns of `outputs`, then ``metadata``; see `Magpie.process`.

        Raises:
            UnsupportedError: the engine takes no raw prompts.
            DriaMagpieError: the last of 50 rows that failed one after the other.
        """
        numbers = count()
        done = failures = 0
        while done < self.num_rows:
            # Never more than are missing: a row that is not wanted is paid for, too.
            missing = self.num_rows - done
            batch = (self._prepare(next(numbers)) for _ in range(missing))
            async with aclosing(run_in_order(batch, dria, lambda item: item.task)) as made:
                async for item, result in made:
                    failures = failures + 1 if result.error else 0
                    if result.error is None:
                        done += 1
                        yield self.columns(item.prompt, result)
                    elif failures >= MOST_FAILURES_IN_A_ROW:
                        raise result.error

    def _prepare(self, number: int) -> _Prepared:
        prompt = self.choose_prompt(number)
        return _Prepared(prompt, self.task(number, prompt))
