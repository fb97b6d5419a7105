"""Finding out how an endpoint takes raw prompts, before the first one is paid for."""

from __future__ import annotations

import json
import logging
from typing import Any, Protocol

from dria_magpie.engines.chat.failures import CallFailed, Kind
from dria_magpie.engines.prompts.families import find_family
from dria_magpie.engines.prompts.family import Family
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.prompts.tokenizer_files import WHAT_TO_GIVE
from dria_magpie.engines.raw.route import RawRoute
from dria_magpie.engines.raw.writer import RawWriter
from dria_magpie.errors import UnsupportedError

logger = logging.getLogger(__name__)
INSTEAD = (
    "vLLM, SGLang, llama-server and Ollama take raw prompts, and so does the embedded model; or "
    "take a workflow in which a persona writes the user's messages, such as MagPie's"
)
_NO_SUCH_ROUTE = {404, 405, 501}
_BUSY = {408, 409, 425, 429}
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
        UnsupportedError: the endpoint takes no raw prompts, or the template is not known.
        CallFailed: it does not answer.
    """
    root = url.removesuffix("/v1")
    if await _is_ollama(caller, root):
        style = template or _known_family(model)
        return RawWriter(RawRoute(f"{root}/api/generate", ollama=True), style, adds_bos=True)
    style = template or await _ask_template(caller, root) or _known_family(model)
    route = RawRoute(f"{url}/completions")
    return RawWriter(route, style, adds_bos=await _check_raw(caller, route, model))


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
        kind, status = failed.failure.kind, failed.failure.status or 0
        another = kind is Kind.STATUS and status < 500 and status not in _BUSY
        if another or kind is Kind.BODY:
            return None  # it is another kind of server
        raise


def _known_family(model: str) -> Family:
    family = find_family(model)
    if family is None:
        raise UnsupportedError(
            f"how {model} writes a user's message is not known here; {WHAT_TO_GIVE}"
        )
    return family


async def _check_raw(caller: Caller, route: RawRoute, model: str) -> bool:
    """Check that prompts are taken as they are; tell whether the first token is put before them.

    The tokens of a text twice as long say how many there are besides the text's own: none, one
    that begins a prompt, or more, which is a chat template.
    """
    short, long = [await _count_tokens(caller, route, model, text) for text in (_SHORT, _LONG)]
    if short <= 0 or long <= short:
        logger.warning(
            "%s does not say how many tokens a prompt has: whether it takes raw prompts is unknown",
            route.url,
            extra={"action": "raw_unchecked"},
        )
        return False
    besides = 2 * short - long
    if besides > 1:
        raise UnsupportedError(
            f"{route.url} puts {besides} tokens around a raw prompt: it applies the chat template; "
            f"{INSTEAD}"
        )
    return besides == 1


async def _count_tokens(caller: Caller, route: RawRoute, model: str, text: str) -> int:
    body = {"model": model, "prompt": text, "max_tokens": 1, "temperature": 0.0}
    try:
        answer = await caller.post(route.url, json.dumps(body).encode())
    except CallFailed as failed:
        # vLLM also says 404 to a model that it does not serve
        known = "model" in failed.failure.reason.lower()
        if failed.failure.status in _NO_SUCH_ROUTE and not known:
            raise UnsupportedError(f"{route.url} takes no raw prompts; {INSTEAD}") from failed
        raise
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int else 0
