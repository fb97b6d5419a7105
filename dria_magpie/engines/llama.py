"""`LlamaEngine`: a model in a process of one's own, on this machine's processor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from dria_magpie.engines.chat.failures import LostConnectionError
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.engines.child import Child
from dria_magpie.engines.llama_process import MISSING, LlamaProcess, launch
from dria_magpie.engines.prompts.pre_query import RawPrompt
from dria_magpie.engines.weights.files import Weights, find_weights
from dria_magpie.engines.weights.gguf import trained_context
from dria_magpie.engines.weights.names import parse_name
from dria_magpie.errors import (
    EndpointError,
    InvalidInputError,
    ModelFileError,
    UnsupportedError,
)
from dria_magpie.models import Generation, GenerationRequest, Message, Model

_CALLS = 3


class LlamaEngine:
    """A GGUF model, served by llama.cpp in a child process that ends with this one.

    Weights that are missing are fetched by `start` (98 MB for the default). If the process dies,
    it is started again, and what was asked of it is asked again.

    Args:
        model: a known model, ``hf:ORG/REPO/FILE.gguf``, or the path of a ``.gguf`` file, which is
            then served under this path, and under the file's name without its ending.
        slots: calls at once. Each has the whole context to itself.
        context: tokens of each slot; None for what the model was trained with.

    Raises:
        InvalidInputError: `slots` or `context` is below 1.
        ModelFileError: there is no model of this name.

    Example::

        async with Dria(nodes=[Node(engine=LlamaEngine(slots=2))]) as dria:
            ...
    """

    def __init__(
        self, model: str = Model.SMOLLM2_135M, *, slots: int = 4, context: int | None = None
    ) -> None:
        if slots < 1 or (context is not None and context < 1):
            raise InvalidInputError("slots and context take whole numbers from 1")
        self._weights = find_weights(str(model))
        self._source = str(model)
        self._slots = slots
        self._context = context
        self._process: LlamaProcess | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._closings = 0
        self._gate = Gate()

    def __repr__(self) -> str:
        return f"LlamaEngine({self._source!r})"

    @property
    def models(self) -> tuple[str, ...]:
        """The name of the served model, and the path that was given if it is a file."""
        return tuple(dict.fromkeys((self._weights.name, self._source)))

    @property
    def slots(self) -> int:
        """Calls at once."""
        return self._slots

    @property
    def address(self) -> str:
        """The file of the weights."""
        return str(self._weights.path)

    async def start(self) -> None:
        """Load the model, and fetch it before that if it is the default and missing.

        Raises:
            ModelFileError: the weights are missing or damaged; the text says how to get them.
            UnsupportedError: xllamacpp is not installed.
        """
        self._gate.open()
        await self._running()

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer one request.

        Raises:
            ContextLengthError: the prompt is too long.
            EmptyCompletionError: the model answered with nothing.
            EndpointError: the process died again and again, or the engine was closed meanwhile.
            DrainedError: `drain` came first.
        """
        closings = self._closings
        for call in range(1, _CALLS + 1):
            # A process is not worth its start if nothing may be asked of it
            self._gate.check()
            process = await self._running()
            try:
                answer = await process.generate(request)
            except LostConnectionError as error:
                # The kernel closes a dying process's connections before its exit code is known
                died = await process.child.ended(1.0)
                if closings != self._closings:
                    raise EndpointError("the engine was closed before it answered") from error
                if call == _CALLS:
                    raise EndpointError(self._epitaph(process, died)) from error
            else:
                return answer.evolve(attempts=answer.attempts + call - 1)
        raise AssertionError  # pragma: no cover

    async def raw_prompt(self, model: str, messages: Sequence[Message]) -> RawPrompt:
        """Give the prompt that is sent for an open user turn.

        Args:
            model: the model's name.
            messages: the conversation; the last message is an empty one of the user.

        Raises:
            UnsupportedError: the model's template takes no such messages.
            ModelFileError: the model cannot be loaded.
        """
        return await (await self._running()).raw_prompt(model, messages)

    def drain(self) -> None:
        """Begin no further call, and let those under way go on; `start` takes it back."""
        self._gate.shut()

    async def aclose(self) -> None:
        """End the process; `start` starts another."""
        self._closings += 1
        async with self._exclusive():
            process, self._process = self._process, None
            if process is not None:
                await process.aclose()

    async def _running(self) -> LlamaProcess:
        """Give the process that runs; start one if there is none, or if it died."""
        async with self._exclusive():
            process = self._process
            if process is not None and process.child.exit_code is not None:
                self._process = None
                await process.aclose()
            if self._process is None:
                self._weights = await _obtain(self._source)
                context = self._context or trained_context(self._weights.path)
                self._process = await launch(self._weights, self._slots, context, self._gate)
            return self._process

    def _exclusive(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    def _epitaph(self, process: LlamaProcess, died: bool) -> str:
        end = f"ended with exit code {process.child.exit_code}" if died else "broke off its answer"
        hint = "is memory short, or 127.0.0.1 closed?"
        return f"the process that serves {self.models[0]} {end}, {_CALLS} times; {hint}"


async def _obtain(name: str) -> Weights:
    """Give usable weights, fetched if need be and may be."""
    found = find_weights(name)
    if found.usable:
        return found
    if found.state == "damaged" or isinstance(parse_name(name), Path):
        raise ModelFileError(f"{found.path} is {found.state}; {found.remedy}")
    if find_spec("xllamacpp") is None:
        raise UnsupportedError(MISSING)
    size = f"{found.size // 10**6} MB, " if found.size else ""
    sys.stderr.write(f"fetching {name} ({size}once) ...\n")
    child = Child("dria_magpie.engines.weights.fetch", {"name": name})
    try:
        answer = await child.answer()
    finally:
        await child.dismiss()
    if answer is None or "error" in answer:
        reason = answer["error"] if answer else f"exit code {child.exit_code}"
        raise ModelFileError(f"{name} could not be fetched: {reason}")
    return find_weights(name)
