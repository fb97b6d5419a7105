"""Whether there are open user turns at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dria_magpie.client import Dria
from dria_magpie.errors import DriaMagpieError, NoNodeError, UnsupportedError
from dria_magpie.factory import SelfSynthesis
from dria_magpie.models import Sampling, Task


class OpenTurns:
    """Finds out, once and only if it must be known, whether a client takes open user turns.

    An `UnsupportedError` does not say whether it is for every prompt or for this one alone, as
    where a model knows no system prompts.

    Args:
        dria: the client.
        models: as a `Task` has them.
    """

    def __init__(self, dria: Dria, models: Sequence[str]) -> None:
        self._dria = dria
        self._models = models
        self._lock = asyncio.Lock()
        self._taken = False

    async def check(self) -> None:
        """Open the plainest turn there is, for a single token.

        Raises:
            UnsupportedError: it is not taken, so that none will be.
            NoNodeError: nobody serves the model.
        """
        async with self._lock:
            if self._taken:
                return
            workflow = SelfSynthesis().workflow(
                only_instruction=True, instruction_sampling=Sampling(max_tokens=1)
            )
            try:
                await self._dria.execute(Task(workflow=workflow, models=self._models))
            except (NoNodeError, UnsupportedError):
                raise
            except DriaMagpieError:
                pass  # Cut off, most likely; what was asked is whether such a prompt is sent
            self._taken = True
