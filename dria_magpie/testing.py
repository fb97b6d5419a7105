"""An engine that answers from a script, for tests of what is built on this package."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from dria_magpie.errors import DrainedError, EngineError, InvalidInputError
from dria_magpie.models import Generation, GenerationRequest

Answer = str | Generation | BaseException
_KEPT = 10_000


class ScriptedEngine:
    """Answers without a model.

    Args:
        answer: a function, plain or async, from the request to a text, a `Generation`, or an
            exception to raise; or such answers themselves, which are handed out in order.
        models: names of the served models, the default first.
        latency: seconds that each answer takes.
        slots: how many calls the engine says it makes at once; it does not hold any back.

    Attributes:
        calls: how many calls were begun.
        requests: the latest 10,000 requests, oldest first.

    Raises:
        InvalidInputError: `answer` is a single text, which would be read letter by letter.

    Example::

        engine = ScriptedEngine(lambda request: f"You said: {request.messages[-1].content}")
        engine = ScriptedEngine(["Hello!", EndpointError("down", 503), "Goodbye!"])
        async with Dria(nodes=[Node(engine=engine)]) as dria:
            ...
    """

    def __init__(
        self,
        answer: Callable[[GenerationRequest], Answer | Awaitable[Answer]] | Iterable[Answer],
        *,
        models: Sequence[str] = ("scripted",),
        latency: float = 0.0,
        slots: int = 64,
    ) -> None:
        if isinstance(answer, str):
            raise InvalidInputError(
                f"answer takes a function or a list of answers, such as [{answer!r}]"
            )
        self._answer = answer if callable(answer) else _in_order(answer)
        self._models = tuple(map(str, models))
        self._latency = latency
        self._slots = slots
        self._drained = False
        self.calls = 0
        self.requests: deque[GenerationRequest] = deque(maxlen=_KEPT)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the served models, the default first."""
        return self._models

    @property
    def slots(self) -> int:
        """How many calls the engine says it makes at once."""
        return self._slots

    @property
    def address(self) -> str:
        """Always ``scripted``."""
        return "scripted"

    async def start(self) -> None:
        """Take `drain` back; there is nothing else to make ready."""
        self._drained = False

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer from the script; open user turns too.

        Raises:
            EngineError: the script has no more answers.
            DrainedError: `drain` came first; the call does not count.
        """
        if self._drained:
            raise DrainedError("the script is not read any further until the engine is started")
        self.calls += 1
        self.requests.append(request)
        answer = self._answer(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if self._latency:
            await asyncio.sleep(self._latency)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Generation):
            return answer if answer.model else answer.evolve(model=request.model)
        return Generation(
            text=answer,
            model=request.model,
            prompt_tokens=sum(_words(message.content) for message in request.messages),
            completion_tokens=_words(answer),
        )

    def drain(self) -> None:
        """Begin no further call, and let those under way go on; `start` takes it back."""
        self._drained = True

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back."""


def _in_order(answers: Iterable[Answer]) -> Callable[[GenerationRequest], Answer]:
    left = iter(answers)
    used = 0

    def answer(_: GenerationRequest) -> Answer:
        nonlocal used
        for item in left:
            used += 1
            return item
        return EngineError(f"the script has {used} answers, and every one was used")

    return answer


def _words(text: str) -> int:
    return len(text.split())
