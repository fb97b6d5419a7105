"""`ChatClient`: chat completions from one endpoint, with everything that makes them dependable.

What an engine composes. It knows retries, adaptive concurrency, chat templates without a system
role, reasoning, and streams; it does not know which models there are, nor who runs the server::

    client = ChatClient(
        "http://127.0.0.1:8081/v1",
        api_key="secret",
        concurrency=4,
        timeout=600.0,
        retry=RetryPolicy(),
        stream=True,       # a stream on a connection of its own: cancelled calls free their slot
        max_tokens=100,    # the cap for requests that have none
    )
    generation = await client.generate(request)   # the work
    names = await client.list_models()            # None: this endpoint does not say
    await client.aclose()                         # generate() opens it again, in any event loop

Errors of `generate` are `EngineError`: `ContextLengthError`, `EmptyCompletionError`,
`EndpointError`, and of the latter `LostConnectionError` (in ``failures``) where the server is not
there or broke the connection off, after the retries of the policy: ``RetryPolicy(attempts=1)``
makes it come at once, for who restarts the server himself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dria_magpie.engines.chat.failures import CallFailed, Kind
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.engines.chat.payload import (
    decode_answer,
    decode_models,
    encode_request,
    make_body,
)
from dria_magpie.engines.chat.retry import DEFAULT_RETRY, RetryPolicy
from dria_magpie.engines.chat.sender import Course, Sender
from dria_magpie.engines.chat.system_role import alternates, fold
from dria_magpie.engines.chat.wire import Connection
from dria_magpie.engines.prompts.pre_query import RawPrompt
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.raw.finder import WriterFinder
from dria_magpie.models import Generation, GenerationRequest, Message

_NO_SUCH_ROUTE = {404, 405, 501}


class ChatClient:
    """Chat completions from one endpoint.

    Args:
        url: the base URL, which ends where ``/chat/completions`` begins.
        api_key: sent as a bearer token; never shown.
        concurrency: the most calls at once.
        timeout: seconds for one call.
        retry: when a failed call is made again.
        stream: have answers sent in pieces, each on a connection of its own.
        max_tokens: the cap of messages for requests without one; None leaves it to the endpoint.
        extra: fields for the body of each call, which this endpoint alone knows.
        gate: what each call passes before it begins; None for one that stays open.
        template: gives the chat template for raw prompts; None to ask the endpoint, or to go by
            the model's name.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        concurrency: int = 64,
        timeout: float = 600.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        stream: bool = False,
        max_tokens: int | None = None,
        extra: Mapping[str, Any] = MappingProxyType({}),
        gate: Gate | None = None,
        template: Callable[[], ChatTemplate] | None = None,
    ) -> None:
        self._url = url
        self._stream = stream
        self._max_tokens = max_tokens
        self._extra = extra
        gate = gate or Gate()
        self._connection = Connection(url, api_key=api_key, timeout=timeout, fresh=stream)
        self._sender = Sender(self._connection, url, concurrency, retry, gate)
        self._folding: set[str] = set()
        self._writers = WriterFinder(self._connection, url, template, gate)

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer one request.

        Raises:
            EngineError: no answer could be had.
            DrainedError: the gate was shut before an answer was there.
        """
        course = self._sender.begin(request.model)
        attempt = self._continue if request.open_user_turn else self._attempt
        return await self._sender.insist(lambda: attempt(request, course), course)

    async def raw_prompt(self, model: str, messages: Sequence[Message]) -> RawPrompt:
        """Give the prompt that is sent for an open user turn, once it is known how.

        Raises:
            EngineError: the endpoint does not answer, or takes no raw prompts.
        """
        writer = await self._sender.insist(lambda: self._writers.find(model), Course(model))
        return writer.write(messages)

    async def list_models(self) -> tuple[str, ...] | None:
        """Give the names of the served models, or None if the endpoint does not say.

        Raises:
            EngineError: the endpoint does not answer, or answers only those whom it knows.
        """
        course = Course()

        async def call() -> tuple[str, ...] | None:
            course.calls += 1
            try:
                return decode_models(await self._connection.get("/models"))
            except CallFailed as failed:
                if failed.failure.kind is Kind.BODY or failed.failure.status in _NO_SUCH_ROUTE:
                    return None
                raise

        return await self._sender.insist(call, course)

    async def aclose(self) -> None:
        """Close every connection; the next call opens a new one."""
        await self._writers.aclose()
        await self._connection.aclose()

    async def _attempt(self, request: GenerationRequest, course: Course) -> Generation:
        """Make one call, or two where the chat template turns out to refuse the order of roles."""
        messages = request.messages
        if request.model in self._folding:
            messages = fold(messages)
        try:
            return await self._complete(request, messages, course)
        except CallFailed as failed:
            folded = fold(messages)
            if failed.failure.kind is not Kind.ROLES or folded == messages:
                raise
        if alternates(messages):
            # So it was the system message that was refused, and will be in each prompt
            self._folding.add(request.model)
        return await self._complete(request, folded, course)

    async def _complete(
        self, request: GenerationRequest, messages: Sequence[Message], course: Course
    ) -> Generation:
        body = encode_request(request, messages, **self._options(course))
        answer = await self._sender.post("/chat/completions", body, course)
        return decode_answer(answer, request, course.calls)

    async def _continue(self, request: GenerationRequest, course: Course) -> Generation:
        """Have the user's message written, from a prompt that ends where it begins."""
        writer = await self._writers.find(request.model)
        prompt = writer.write(request.messages)
        body = make_body(request, **self._options(course))
        body["prompt"] = prompt.text
        body["stop"] = [*request.sampling.stop, *prompt.stop]
        answer = await self._sender.post(writer.route.url, writer.route.encode(body), course)
        return decode_answer(writer.route.decode(answer), request, course.calls)

    def _options(self, course: Course) -> dict[str, Any]:
        return {
            "empty": sum(failure.kind is Kind.EMPTY for failure in course.failures),
            "max_tokens": self._max_tokens,
            "stream": self._stream,
            "extra": self._extra,
        }
