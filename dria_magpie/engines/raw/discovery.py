"""Finding out how an endpoint takes raw prompts, before the first one is paid for."""

from __future__ import annotations

from typing import Any, Protocol

from dria_magpie.engines.chat.failures import CallFailed, Failure, Kind, quote
from dria_magpie.engines.chat.payload import decode_models
from dria_magpie.engines.prompts.families import find_family
from dria_magpie.engines.prompts.family import Family
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.prompts.tokenizer_files import WHAT_TO_GIVE
from dria_magpie.engines.prompts.wrapping import least_wrapping
from dria_magpie.engines.raw.route import RawRoute
from dria_magpie.engines.raw.writer import RawWriter
from dria_magpie.errors import UnsupportedError

INSTEAD = (
    "vLLM, SGLang, llama-server and Ollama take raw prompts, and so does the embedded model; or "
    "take a workflow in which a persona writes the user's messages, such as MagPie's"
)
_NO_SUCH_ROUTE = {404, 405, 501}
_BUSY = {408, 409, 425, 429}
_UNAUTHORISED = {401, 403}
_MOST_BEFORE = 2  # tokens such as ChatGLM's [gMASK]<sop>
_MOST_NAMES = 10
_SHORT, _LONG = " word" * 8, " word" * 16


class Caller(Protocol):
    """What makes calls to an endpoint."""

    async def get(self, route: str) -> Any:
        """Give the JSON of a route, or of a whole URL."""

    async def post(self, route: str, body: bytes) -> Any:
        """Send JSON, give the JSON that comes back."""


async def find_writer(
    caller: Caller, url: str, model: str, template: ChatTemplate | None
) -> RawWriter:
    """Find out how raw prompts are written for a model.

    Args:
        caller: makes the calls.
        url: the endpoint's base URL.
        model: the model's name.
        template: its chat template, if the user gave one.

    Raises:
        UnsupportedError: the endpoint takes no raw prompts or does not say so, or it does not
            serve the model, or the template is not known.
        CallFailed: it does not answer, or lets nobody in.
    """
    root = url.removesuffix("/v1")
    if await _is_ollama(caller, root):
        style = template or await _known_family(caller, url, model)
        route = RawRoute(f"{root}/api/generate", ollama=True)
        await _continue(caller, route, model, _SHORT)
        return RawWriter(route, style, adds_bos=True)
    told = template or await _ask_template(caller, root)
    style = told or await _known_family(caller, url, model)
    route = RawRoute(f"{url}/completions")
    return RawWriter(route, style, adds_bos=await _check_raw(caller, route, model, style))


def is_final(failure: Failure) -> bool:
    """Tell whether an endpoint that refused a call in this way will refuse the next one, too."""
    status = failure.status or 0
    return failure.kind is Kind.STATUS and status < 500 and status not in _BUSY


async def _is_ollama(caller: Caller, root: str) -> bool:
    answer = await _get(caller, f"{root}/api/version")
    return isinstance(answer, dict) and isinstance(answer.get("version"), str)


async def _ask_template(caller: Caller, root: str) -> ChatTemplate | None:
    """Ask as llama-server can be asked."""
    answer = await _get(caller, f"{root}/props")
    text = answer.get("chat_template") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text:
        return None
    bos, eos = (str(answer.get(name) or "") for name in ("bos_token", "eos_token"))
    return ChatTemplate(text, bos, eos, origin=f"{root}/props")


async def _get(caller: Caller, url: str) -> Any:
    try:
        return await caller.get(url)
    except CallFailed as failed:
        if is_final(failed.failure) or failed.failure.kind is Kind.BODY:
            return None  # it is another kind of server
        raise


async def _known_family(caller: Caller, url: str, model: str) -> Family:
    family = find_family(model)
    if family is None:
        await _check_served(caller, url, model)
        raise UnsupportedError(
            f"how {model} writes a user's message is not known here; {WHAT_TO_GIVE}"
        )
    return family


async def _check_served(caller: Caller, url: str, model: str) -> None:
    try:
        names = decode_models(await caller.get(f"{url}/models"))
    except CallFailed as failed:
        if is_final(failed.failure) and failed.failure.status not in _UNAUTHORISED:
            return  # it does not say what it serves
        raise
    # Ollama's names may go without this ending
    if names and not {model, f"{model}:latest"} & set(names):
        listed = ", ".join(map(quote, names[:_MOST_NAMES]))
        raise UnsupportedError(f"{url} does not serve {model!r}; it serves {listed}")


async def _check_raw(
    caller: Caller, route: RawRoute, model: str, style: ChatTemplate | Family
) -> bool:
    """Check that prompts are taken as they are; tell whether something is put before them.

    The tokens of a text twice as long say how many there are besides the text's own: none, one or
    two that begin a prompt, or as many as a chat template writes around a message.
    """
    short, long = [await _count_tokens(caller, route, model, text) for text in (_SHORT, _LONG)]
    if short <= 0 or long <= short:
        raise UnsupportedError(
            f"{route.url} does not say how many tokens a prompt has (usage.prompt_tokens is "
            f"{short} for a short one and {long} for one twice as long), so that nothing tells "
            f"whether it takes raw prompts as they are; {INSTEAD}"
        )
    besides = 2 * short - long
    if besides > 1 and besides >= min(least_wrapping(style), _MOST_BEFORE + 1):
        raise UnsupportedError(
            f"{route.url} puts {besides} tokens around a raw prompt: it applies the chat template; "
            f"{INSTEAD}"
        )
    return besides >= 1


async def _count_tokens(caller: Caller, route: RawRoute, model: str, text: str) -> int:
    answer = await _continue(caller, route, model, text)
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if type(count) is int:
        return count
    route.decode(answer)  # what is no completion at all has another reason, and may pass
    return 0


async def _continue(caller: Caller, route: RawRoute, model: str, text: str) -> Any:
    """Have one token written."""
    body = {"model": model, "prompt": text, "max_tokens": 1, "temperature": 0.0}
    try:
        return await caller.post(route.url, route.encode(body))
    except CallFailed as failed:
        # vLLM also says 404 to a model that it does not serve
        known = "model" in failed.failure.reason.lower()
        if failed.failure.status in _NO_SUCH_ROUTE and not known:
            raise UnsupportedError(f"{route.url} takes no raw prompts; {INSTEAD}") from failed
        raise
