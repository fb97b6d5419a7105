"""`OpenAIEngine`: text from any endpoint that speaks OpenAI's chat protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dria_magpie.engines.chat.client import ChatClient
from dria_magpie.engines.chat.gate import Gate
from dria_magpie.engines.chat.retry import DEFAULT_RETRY, RetryPolicy
from dria_magpie.engines.prompts.pre_query import RawPrompt
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.errors import InvalidInputError
from dria_magpie.models import ANY_MODEL, Generation, GenerationRequest, Message

_CHAT_ROUTE = "/chat/completions"
DEFAULT_CONCURRENCY = 64


class OpenAIEngine:
    """An endpoint such as vLLM, SGLang, Ollama, llama-server, or a public one.

    Args:
        base_url: the API's URL; ``/v1`` is added where it has no path.
        api_key: the bearer token; never shown in messages.
        models: names of the served models, the default first; asked for at `start` if empty.
        concurrency: the most calls at once. Fewer are made while the endpoint says that it is
            overloaded.
        timeout: seconds for one call.
        retry: how often and how fast a failed call is made again.
        chat_template: for open user turns: the model's chat template, as the path of a
            tokenizer_config.json, a ``.gguf``, or a ``.jinja`` file that lies beside its
            tokenizer_config.json; None to ask llama-server for
            it, or to go by the model's name.

    Raises:
        InvalidInputError: an argument that cannot work.

    Example::

        Dria(nodes=[Node(engine=OpenAIEngine("http://localhost:8000/v1"))])
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        models: Sequence[str] = (),
        concurrency: int = DEFAULT_CONCURRENCY,
        timeout: float = 600.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        chat_template: str | Path | ChatTemplate | None = None,
    ) -> None:
        if isinstance(models, str):
            raise InvalidInputError(f"models takes a list of names, such as [{models!r}]")
        if type(concurrency) is not int or concurrency < 1:
            raise InvalidInputError(f"concurrency takes a whole number from 1, not {concurrency!r}")
        if not timeout > 0:
            raise InvalidInputError(f"timeout takes seconds above 0, not {timeout!r}")
        self._url = normalise_url(base_url)
        self._models = tuple(map(str, models))
        self._given = bool(self._models)
        self._started = self._given
        self._slots = concurrency
        self._gate = Gate()
        self._client = ChatClient(
            self._url,
            api_key=_check_key(api_key),
            concurrency=concurrency,
            timeout=timeout,
            retry=retry,
            template=None if chat_template is None else lambda: _read_template(chat_template),
            gate=self._gate,
        )

    def __repr__(self) -> str:
        return f"OpenAIEngine({self._url!r})"

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the served models, the default first; ``("*",)`` for any."""
        return self._models

    @property
    def slots(self) -> int:
        """The most calls at once."""
        return self._slots

    @property
    def address(self) -> str:
        """The endpoint's base URL."""
        return self._url

    async def start(self) -> None:
        """Ask for the served models, if they were not given.

        Raises:
            EndpointError: the endpoint is not there, or refuses; the text says what to do.
        """
        self._gate.open()
        if not self._started:
            self._models = await self._client.list_models() or (ANY_MODEL,)
            self._started = True

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer one request.

        Raises:
            EndpointError: the endpoint refused, broke or never answered.
            ContextLengthError: the prompt is too long.
            EmptyCompletionError: the model answered with nothing.
            UnsupportedError: an open user turn, and the endpoint takes no raw prompts.
            DrainedError: `drain` came first.
        """
        return await self._client.generate(request)

    def drain(self) -> None:
        """Begin no further call, and let those under way go on; `start` takes it back."""
        self._gate.shut()

    async def raw_prompt(self, model: str, messages: Sequence[Message]) -> RawPrompt:
        """Give the prompt that is sent for an open user turn.

        Args:
            model: the model's name.
            messages: the conversation; the last message is an empty one of the user.

        Raises:
            UnsupportedError: no raw prompts here, or the model's template is not known.
            EndpointError: the endpoint does not answer.
        """
        return await self._client.raw_prompt(model, messages)

    async def aclose(self) -> None:
        """Close every connection; a later call opens them again."""
        self._started = self._given
        await self._client.aclose()


def _read_template(given: str | Path | ChatTemplate) -> ChatTemplate:
    return given if isinstance(given, ChatTemplate) else ChatTemplate.from_file(Path(given))


def normalise_url(base_url: str) -> str:
    """Give an API's base URL in the form to which routes are appended.

    Raises:
        InvalidInputError: this is no such URL.
    """
    url = base_url.strip().rstrip("/").removesuffix(_CHAT_ROUTE).rstrip("/")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise InvalidInputError(
            f"{base_url!r} is not the URL of an endpoint; one is http://localhost:8000/v1"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInputError("the URL takes no user, password, query or fragment; see api_key")
    return url if parts.path else f"{url}/v1"


def _check_key(api_key: str | None) -> str | None:
    key = (api_key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise InvalidInputError("the API key has characters that no HTTP header can carry")
    return key or None
