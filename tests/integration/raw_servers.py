"""Servers on 127.0.0.1 that continue raw prompts, as vLLM, llama-server and Ollama do, or do not.

::

    async with RawServer(bos="<s>") as server:
        engine = OpenAIEngine(server.url, models=["llama3:8b"])
        ...
        assert server.raw[0].prompt == "<|start_header_id|>user<|end_header_id|>\n\n"

What the model of a server sees is kept as tokens: one for each word with the blank before it, for
each special token, and for each sign.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from aiohttp import web

_SPECIAL = r"<\|[^|<>\s]{1,40}\|>|</?[a-z_]{1,20}>|\[/?(?:INST|gMASK)\]"
_TOKEN = re.compile(rf"{_SPECIAL}|\s?\w+|\s+|[^\w\s]")
_LEAST = 1  # the max_tokens of a call that only counts

LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenise(text: str) -> list[str]:
    """Split a text into what the stand-in's model sees."""
    return _TOKEN.findall(text)


def turn(role: str, text: str | None = None) -> str:
    """A turn as Llama-3 writes it; without a text, its opening."""
    opening = f"<|start_header_id|>{role}<|end_header_id|>\n\n"
    return opening if text is None else f"{opening}{text}<|eot_id|>"


def chatml(role: str, text: str | None = None) -> str:
    """A turn in ChatML; without a text, its opening."""
    opening = f"<|im_start|>{role}\n"
    return opening if text is None else f"{opening}{text}<|im_end|>\n"


@dataclass(frozen=True)
class RawCall:
    """A call as it arrived; `tokens` is the prompt as the model sees it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = None
    tokens: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        return str(self.body["prompt"])

    @property
    def sampling(self) -> dict[str, Any]:
        """Under the names that this route has for it."""
        return dict(self.body.get("options", self.body))

    @property
    def cap(self) -> int | None:
        return self.sampling.get("max_tokens", self.sampling.get("num_predict"))


Writes = Callable[[RawCall], str]


def talk(call: RawCall) -> str:
    """A user's message that goes on into an answer where nothing stops it; or an answer."""
    if "messages" in call.body:
        return f"It is {call.sampling.get('seed')}."
    words = f" What is {call.sampling.get('seed')}? \n"
    return f"{words}<|eot_id|>{turn('assistant')}It is that."


def talk_chatml(call: RawCall) -> str:
    """The same in ChatML."""
    if "messages" in call.body:
        return talk(call)
    return f"What is {call.sampling.get('seed')}?<|im_end|>\n{chatml('assistant')}That."


class RawServer:
    """A server.

    Args:
        models: what it serves; others it does not know.
        bos: the token that it puts before raw prompts and its template before conversations.
        completions: what ``/v1/completions`` does: takes prompts raw, or as a user's message of a
            conversation, or is not there.
        props: what ``/props`` tells, as llama-server's; None for no such route.
        ollama: whether Ollama's own routes are there.
        opening: writes a turn, for conversations.
        writes: what the model would write if it were not stopped.
        ends: tokens with which the model ends by itself.
        skips_special: special tokens are kept out of answers, and out of what stop texts are
            compared with, as vLLM does unless a call says otherwise.
        count: the number of tokens that it says every prompt has; None for the true one.
        default_cap: of raw calls that have none; vLLM's and SGLang's is 16.
        trouble: for a path the statuses with which its first calls are answered.

    Attributes:
        calls: what arrived.
        gates: for a path, what its answers wait for.
        arrived: notified with each call.
    """

    def __init__(
        self,
        *,
        models: Sequence[str] = ("llama3:8b",),
        bos: str = "",
        completions: Literal["raw", "templated", "missing"] = "raw",
        props: dict[str, Any] | None = None,
        ollama: bool = False,
        opening: Callable[..., str] = turn,
        writes: Writes = talk,
        ends: Sequence[str] = (),
        skips_special: bool = False,
        count: int | None = None,
        default_cap: int | None = 16,
        trouble: dict[str, list[int]] | None = None,
    ) -> None:
        self._models = models
        self._bos = bos
        self._completions = completions
        self._props = props
        self._ollama = ollama
        self._opening = opening
        self._writes = writes
        self._ends = set(ends)
        self._skips_special = skips_special
        self._count = count
        self._default_cap = default_cap
        self._trouble = trouble or {}
        self.calls: list[RawCall] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.arrived = asyncio.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def paths(self) -> Counter[str]:
        """How often each path was called."""
        return Counter(call.path for call in self.calls)

    @property
    def raw(self) -> list[RawCall]:
        """Calls that have a raw prompt continued, without those that only count."""
        return [
            call for call in self.calls if call.body and "prompt" in call.body and not tiny(call)
        ]

    @property
    def chats(self) -> list[RawCall]:
        return [call for call in self.calls if call.path == "/v1/chat/completions"]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v1/models", self._on_models)
        app.router.add_post("/v1/chat/completions", self._on_chat)
        if self._completions != "missing":
            app.router.add_post("/v1/completions", self._on_completions)
        if self._props is not None:
            app.router.add_get("/props", self._on_props)
        if self._ollama:
            app.router.add_get("/api/version", self._on_version)
            app.router.add_post("/api/generate", self._on_generate)
        app.router.add_route("*", "/{path:.*}", self._on_other)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait until what has arrived is as wanted."""
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(ready), 10)

    # Routes

    async def _on_models(self, request: web.Request) -> web.Response:
        call = await self._note(request)
        names = [{"id": name} for name in self._models]
        return self._refusal(call) or web.json_response({"data": names})

    async def _on_version(self, request: web.Request) -> web.Response:
        call = await self._note(request)
        return self._refusal(call) or web.json_response({"version": "0.12.6"})

    async def _on_props(self, request: web.Request) -> web.Response:
        call = await self._note(request)
        return self._refusal(call) or web.json_response(self._props)

    async def _on_other(self, request: web.Request) -> web.Response:
        await self._note(request, await request.json() if request.method == "POST" else None)
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _on_chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        said = "".join(self._opening(m["role"], m["content"]) for m in body["messages"])
        call = await self._note(request, body, self._bos + said + self._opening("assistant"))
        return self._refusal(call) or await self._answer(request, call, "message", None)

    async def _on_completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["prompt"]
        if self._completions == "templated":
            prompt = self._opening("user", prompt) + self._opening("assistant")
        call = await self._note(request, body, self._bos + prompt)
        return self._refusal(call) or await self._answer(request, call, "text", self._default_cap)

    async def _on_generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["prompt"]
        if body.get("raw") is not True:
            prompt = self._opening("user", prompt) + self._opening("assistant")
        call = await self._note(request, body, self._bos + prompt)
        if refusal := self._refusal(call):
            return refusal
        text, reason, written = self._write(call, None)
        answer = {
            "model": body["model"],
            "created_at": "2026-11-20T12:00:00Z",
            "response": text,
            "done": True,
            "done_reason": reason,
            "prompt_eval_count": len(call.tokens),
            "eval_count": written,
        }
        if body.get("stream", True):
            first = {**answer, "done": False}
            lines = f"{json.dumps(first)}\n{json.dumps({**answer, 'response': ''})}\n"
            return web.Response(text=lines, content_type="application/x-ndjson")
        return web.json_response(answer)

    # What they have in common

    async def _note(self, request: web.Request, body: Any = None, seen: str = "") -> RawCall:
        headers, tokens = dict(request.headers), tuple(tokenise(seen))
        call = RawCall(request.method, request.path, headers, body, tokens)
        self.calls.append(call)
        async with self.arrived:
            self.arrived.notify_all()
        if gate := self.gates.get(request.path):
            await gate.wait()
        return call

    def _refusal(self, call: RawCall) -> web.Response | None:
        if troubles := self._trouble.get(call.path):
            error = {"error": {"message": "not now", "code": troubles[0]}}
            return web.json_response(error, status=troubles.pop(0))
        if call.body and call.body["model"] not in self._models:
            words = f"The model `{call.body['model']}` does not exist."
            error = {"message": words, "type": "NotFoundError", "param": "model", "code": 404}
            return web.json_response({"error": error}, status=404)
        return None

    def _write(self, call: RawCall, default_cap: int | None) -> tuple[str, str, int]:
        """Give what the model wrote, why it stopped, and how many tokens that took."""
        skips = self._skips_special and call.body.get("skip_special_tokens", True)
        cap = call.cap or default_cap
        text = ""
        written = 0
        for token in tokenise(self._writes(call)):
            if written == cap:
                return text, "length", written
            written += 1
            if token in self._ends:
                break
            if skips and re.fullmatch(_SPECIAL, token):
                continue
            text += token
            ends = [text.index(stop) for stop in call.sampling.get("stop", ()) if stop in text]
            if ends:
                return text[: min(ends)], "stop", written
        return text, "stop", written

    async def _answer(
        self, request: web.Request, call: RawCall, kind: str, default_cap: int | None
    ) -> web.StreamResponse:
        text, reason, written = self._write(call, default_cap)
        count = len(call.tokens) if self._count is None else self._count
        end = {
            "model": call.body["model"],
            "usage": {"prompt_tokens": count, "completion_tokens": written},
        }
        content: dict[str, Any] = {"text": text}
        if kind == "message":
            content = {"message": {"role": "assistant", "content": text}}
        if not call.body.get("stream"):
            choice = {"index": 0, **content, "finish_reason": reason}
            return web.json_response({**end, "choices": [choice]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for token in [*tokenise(text), None]:
            piece = {"delta": {"content": token}} if kind == "message" else {"text": token or ""}
            chunk = {"choices": [{**piece, "finish_reason": None if token else reason}]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(f"data: {json.dumps({**end, 'choices': []})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def tiny(call: RawCall) -> bool:
    """Tell whether a call asks for one token only, to have its prompt counted."""
    return call.cap == _LEAST


def vllm(**options: Any) -> RawServer:
    """As vLLM serves Llama-3: it puts the first token before a raw prompt."""
    return RawServer(**{"bos": "<|begin_of_text|>", **options})


def llama_server(**options: Any) -> RawServer:
    """As llama.cpp's server, which tells the template of the model that it serves."""
    bos = options.get("bos", "<|begin_of_text|>")
    props = {
        "chat_template": LLAMA_3,
        "bos_token": bos or "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "model_path": "/models/mine.gguf",
        "total_slots": 4,
    }
    return RawServer(**{"bos": bos, "props": props, "default_cap": None, **options})


def ollama(**options: Any) -> RawServer:
    """As Ollama, whose completions apply the model's template to the prompt."""
    given = {"completions": "templated", "ollama": True, "bos": "<|begin_of_text|>"}
    return RawServer(**{**given, "default_cap": None, **options})
