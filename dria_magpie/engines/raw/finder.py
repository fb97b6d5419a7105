"""Writers of raw prompts: found once for each model, however many calls want one."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

from dria_magpie.engines.chat.failures import CallFailed, final_error
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.engines.chat.wire import Connection
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.raw.discovery import find_writer, is_final
from dria_magpie.engines.raw.writer import RawWriter
from dria_magpie.errors import EndpointError, InvalidInputError, UnsupportedError


class RefusedForGoodError(UnsupportedError, EndpointError):
    """The endpoint lets nobody in, or takes no such request, whatever the row."""


class WriterFinder:
    """Finds out how an endpoint takes raw prompts, and remembers it, refusals included.

    Args:
        connection: to the endpoint.
        url: its base URL.
        template: gives the chat template that the user named, if any.
        gate: what each call passes before it begins.
    """

    def __init__(
        self,
        connection: Connection,
        url: str,
        template: Callable[[], ChatTemplate] | None,
        gate: Gate,
    ) -> None:
        self._connection = connection
        self._url = url
        self._template = template
        self._gate = gate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._found: dict[str, asyncio.Task[RawWriter]] = {}

    async def find(self, model: str) -> RawWriter:
        """Give the writer for a model.

        Raises:
            UnsupportedError: the endpoint takes no raw prompts, or the template is not known.
            CallFailed: it does not answer; the next call asks again.
            DrainedError: the gate was shut meanwhile.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._found = loop, {}
        self._gate.check()
        task = self._found.get(model)
        if task is None or _is_worth_another(task):
            task = self._found[model] = loop.create_task(self._discover(model))
            task.add_done_callback(_retrieve)
        try:
            # Whoever goes away leaves the others what is being found out
            return await self._gate.wait_for_task(task)
        except UnsupportedError as error:
            # Each has one of its own, which gets the result of its own run
            raise copy.copy(error) from error.__cause__

    async def aclose(self) -> None:
        """Forget everything, and end what is being found out."""
        found, self._found = self._found, {}
        if self._loop is asyncio.get_running_loop():
            for task in found.values():
                task.cancel()
            await asyncio.gather(*found.values(), return_exceptions=True)

    async def _discover(self, model: str) -> RawWriter:
        try:
            template = self._template() if self._template else None
        except InvalidInputError as error:
            raise UnsupportedError(str(error)) from error
        try:
            return await find_writer(self, self._url, model, template)
        except CallFailed as failed:
            failure = failed.failure
            if not is_final(failure):
                raise
            words = str(final_error([failure], self._url, model, calls=1))
            raise RefusedForGoodError(words, failure.status) from failed

    async def get(self, route: str) -> Any:
        """Give the JSON of a route, unless the gate is shut."""
        self._gate.check()
        return await self._connection.get(route)

    async def post(self, route: str, body: bytes) -> Any:
        """Send JSON, give the JSON that comes back, unless the gate is shut."""
        self._gate.check()
        return await self._connection.post(route, body)


def _is_worth_another(task: asyncio.Task[RawWriter]) -> bool:
    if not task.done():
        return False
    return task.cancelled() or (
        task.exception() is not None and not isinstance(task.exception(), UnsupportedError)
    )


def _retrieve(task: asyncio.Task[RawWriter]) -> None:
    if not task.cancelled():
        task.exception()
