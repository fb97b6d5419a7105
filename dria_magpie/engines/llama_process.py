"""A llama.cpp server in a child process, and the client that speaks to it."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from dria_magpie.engines.chat.client import ChatClient
from dria_magpie.engines.chat.failures import Failure, Kind
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.engines.chat.retry import RetryDecision, RetryPolicy
from dria_magpie.engines.child import Child
from dria_magpie.engines.prompts.pre_query import RawPrompt
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.weights.files import Weights
from dria_magpie.engines.weights.names import KNOWN
from dria_magpie.errors import ModelFileError, UnsupportedError
from dria_magpie.models import Generation, GenerationRequest, Message

MISSING = "models run in this process with xllamacpp: pip install 'dria-magpie[local]'"
_MESSAGE_TOKENS = 100
_CALL_SECONDS = 3600.0
_TAIL = 2000


class _LocalRetry(RetryPolicy):
    """Leaves a server that is gone to the engine, which starts another."""

    __slots__ = ()

    def decide(self, failures: Sequence[Failure], *, known: bool) -> RetryDecision:
        if failures[-1].kind in {Kind.REFUSED, Kind.LOST}:
            return RetryDecision(False, 0.0, failures[-1].reason)
        return super().decide(failures, known=known)


class LlamaProcess:
    """A running server.

    Args:
        child: its process.
        client: speaks to it.
    """

    def __init__(self, child: Child, client: ChatClient) -> None:
        self.child = child
        self._client = client
        self._calls: set[asyncio.Future[None]] = set()

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer one request; see `ChatClient.generate` for its errors."""
        ended = asyncio.get_running_loop().create_future()
        self._calls.add(ended)
        try:
            return await self._client.generate(request)
        finally:
            self._calls.discard(ended)
            ended.set_result(None)

    async def raw_prompt(self, model: str, messages: Sequence[Message]) -> RawPrompt:
        """Give the prompt that is sent for an open user turn."""
        return await self._client.raw_prompt(model, messages)

    async def aclose(self) -> None:
        """End the process and close what is open; calls under way fail first."""
        await self.child.dismiss()
        # A stream whose session is closed before it saw the connection break waits for ever
        loop = asyncio.get_running_loop()
        calls = [call for call in self._calls if call.get_loop() is loop]
        if calls:
            await asyncio.wait(calls)
        await self._client.aclose()


async def launch(weights: Weights, slots: int, context: int, gate: Gate) -> LlamaProcess:
    """Start a server and wait until its model is loaded.

    Args:
        weights: what to serve; the file must be there.
        slots: calls at once.
        context: tokens of each slot.
        gate: what each call passes before it begins.

    Raises:
        ModelFileError: the model cannot be loaded.
        UnsupportedError: xllamacpp is not installed.
    """
    key = secrets.token_hex(16)
    order = {
        "path": str(weights.path),
        "name": weights.name,
        "api_key": key,
        "slots": slots,
        "context": context,
    }
    with tempfile.TemporaryFile() as log:
        child = Child("dria_magpie.engines.llama_server", order, stderr=log)
        try:
            address = _read_address(await child.answer(), child, weights, log)
        except BaseException:
            child.kill()
            raise
    client = ChatClient(
        f"{address}/v1",
        api_key=key,
        concurrency=slots,
        timeout=_CALL_SECONDS,
        retry=_LocalRetry(),
        stream=True,
        max_tokens=_MESSAGE_TOKENS,
        # Without a word to send per batch, the server does not see that a call whose prompt it
        # still reads was cancelled, as long as other calls keep it from looking
        extra={"return_progress": True, **_defaults(weights)},
        gate=gate,
        template=lambda: ChatTemplate.from_gguf(weights.path),
    )
    return LlamaProcess(child, client)


def _defaults(weights: Weights) -> Mapping[str, Any]:
    known = KNOWN.get(weights.name)
    return known.defaults if known else {}


def _read_address(
    answer: Mapping[str, Any] | None, child: Child, weights: Weights, log: IO[bytes]
) -> str:
    if answer and "address" in answer:
        return str(answer["address"])
    if answer and "missing" in answer:
        raise UnsupportedError(f"{MISSING} ({answer['missing']})")
    child.kill()
    log.seek(0)
    lines = log.read()[-_TAIL:].decode("utf-8", "replace").strip()
    reason = answer["error"] if answer else f"the process ended with exit code {child.exit_code}"
    raise ModelFileError(
        f"{weights.path} cannot be loaded: {reason}. The file is damaged, or too large for this "
        "machine's memory (LlamaEngine takes fewer slots=, or a smaller context=), or of a kind "
        f"that this version of xllamacpp does not know. {weights.remedy}"
        + (f"\n{lines}" if lines else "")
    )
