"""An OpenAI-compatible endpoint in a process of its own, with a log of every call that it got.

::

    with mock_endpoint(tmp_path / "calls.jsonl") as endpoint:
        endpoint.behave(latency=0.01, free=20, status=429, retry_after=30)
        ...
        endpoint.wait_for_calls(20)
        assert {call.seed for call in endpoint.calls() if call.answered}

The answer to a call tells its model and seed. The log has two lines for each call, one when it
came and one when it ended, and each is in the file before anything else happens. The process ends
when its stdin is closed, and so with its parent at the latest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiohttp import web

PATIENCE = 60.0
MODELS = ("small", "large")
PROMPT_TOKENS, COMPLETION_TOKENS = 10, 5


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What becomes of the calls that come from now on.

    Attributes:
        latency: seconds until a call is answered.
        free: calls that are answered, before anything else happens to those after them.
        status: what these get; 200 for an answer.
        retry_after: the header of such a refusal.
        every: only each so-manieth of them gets it; the others are answered.
        share: only this part gets it, drawn by `draw`.
        containing: only calls with this text in their prompt get it.
        hold: whether they wait for `release`, or for ever.
    """

    latency: float = 0.01
    free: int = 0
    status: int = 200
    retry_after: float | None = None
    every: int = 1
    share: float = 1.0
    draw: int = 0
    containing: str = ""
    hold: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the log.

    Attributes:
        number: from 0, in the order in which they came.
        seed: of the request.
        digest: of its messages.
        model: that was asked for.
        came: when, in seconds, as `time.time` counts them.
        ended: the status of the answer, ``gone`` if the client left before; "" as long as it waits.
    """

    number: int
    seed: int | None
    digest: str
    model: str
    came: float = 0.0
    ended: str = ""

    @property
    def answered(self) -> bool:
        return self.ended == "200"


class MockEndpoint:
    """The endpoint as the test sees it."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self._told: queue.Queue[dict[str, Any]] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.port = self._next()["port"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def behave(self, **behaviour: Any) -> None:
        """Set what becomes of the calls from now on; it holds when this returns."""
        self._ask("behave", **asdict(Behaviour(**behaviour)))

    def release(self) -> None:
        """Answer the calls that are held, and hold no more."""
        self._ask("release")

    def go_down(self) -> None:
        """Break every connection off and take no more."""
        self._ask("go_down")

    def come_back(self) -> None:
        """Listen again, at the same port."""
        self._ask("come_back")

    def start_log(self, log: Path) -> None:
        """Begin anew: another log, and calls are answered."""
        self._log = log
        self._ask("start_log", path=str(log))

    def wait_for_calls(self, number: int) -> None:
        """Wait until so many calls have come since the log began."""
        self._ask("tell_at", number=number)

    def wait_for_answers(self, number: int) -> None:
        """Wait until so many answers were sent since the log began."""
        self._ask("tell_at_sent", number=number)

    def position(self) -> int:
        """Give the size of the log in bytes, as of now."""
        return self._log.stat().st_size

    def calls(self, since: int = 0) -> list[Call]:
        """Give the calls that came after a position of the log."""
        calls: dict[int, Call] = {}
        with self._log.open("rb") as lines:
            lines.seek(since)
            for line in lines:
                values = json.loads(line)
                if "digest" in values:
                    calls[values["number"]] = Call(**values)
                elif values["number"] in calls:
                    before = asdict(calls[values["number"]])
                    calls[values["number"]] = Call(**{**before, **values})
        return list(calls.values())

    def _ask(self, action: str, **values: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"action": action, **values}) + "\n")
        self._process.stdin.flush()
        assert self._next() == {"done": action}

    def _next(self) -> dict[str, Any]:
        return self._told.get(timeout=PATIENCE)

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._told.put(json.loads(line))


@contextlib.contextmanager
def mock_endpoint(log: Path) -> Iterator[MockEndpoint]:
    """Run the endpoint in a child process."""
    command = [sys.executable, "-m", "tests.acceptance.mock_endpoint", str(log)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        endpoint = MockEndpoint(process, log)
        try:
            yield endpoint
        finally:
            assert process.stdin
            process.stdin.close()
            endpoint._listener.join()


class _Server:
    """The endpoint in its own process."""

    def __init__(self, log: str) -> None:
        self._port = 0
        self._down: asyncio.Event | None = None
        self._start_log(log)

    async def start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._list_models)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def serve(self) -> None:
        await self.start()
        _tell(port=self._port)
        loop = asyncio.get_running_loop()
        reading = threading.Thread(target=self._read_stdin, args=(loop,), daemon=True)
        reading.start()
        await asyncio.Event().wait()

    def _read_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            asyncio.run_coroutine_threadsafe(self._obey(**json.loads(line)), loop).result()
        os._exit(0)

    async def _obey(self, action: str, **values: Any) -> None:
        match action:
            case "behave":
                self._set(Behaviour(**values))
            case "release":
                self._set(Behaviour(latency=self._behaviour.latency))
                self._released.set()
                self._released = asyncio.Event()
            case "go_down":
                await self._runner.cleanup()
            case "come_back":
                await self.start()
            case "start_log":
                self._start_log(values["path"])
            case "tell_at" | "tell_at_sent":
                self._waited_for = action, values["number"]
                self._tell_if_reached()
                return
        _tell(done=action)

    def _start_log(self, path: str) -> None:
        # Without a buffer: what is written is in the file, whatever happens next.
        self._log = Path(path).open("ab", buffering=0)  # noqa: SIM115
        self._number = 0
        self._sent = 0
        self._waited_for: tuple[str, int] | None = None
        self._released = asyncio.Event()
        self._set(Behaviour())

    def _set(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._chance = random.Random(behaviour.draw)
        self._seen = 0

    def _write(self, **values: Any) -> None:
        self._log.write(json.dumps(values).encode() + b"\n")

    def _tell_if_reached(self) -> None:
        if self._waited_for is None:
            return
        action, number = self._waited_for
        if (self._number if action == "tell_at" else self._sent) >= number:
            self._waited_for = None
            _tell(done=action)

    def _is_met(self, prompt: bytes) -> bool:
        """Tell whether a call gets what the behaviour says, and not an ordinary answer."""
        behaviour = self._behaviour
        if behaviour.containing.encode() not in prompt:
            return False
        self._seen += 1
        if self._seen <= behaviour.free:
            return False
        drawn = self._chance.random() < behaviour.share
        return drawn and (self._seen - behaviour.free) % behaviour.every == 0

    async def _answer(self, request: web.Request) -> web.Response:
        text = await request.read()
        body = json.loads(text)
        number, log, seed, model = self._number, self._log, body.get("seed"), body["model"]
        self._number += 1
        digest = sha256(json.dumps(body["messages"]).encode()).hexdigest()[:16]
        self._write(number=number, seed=seed, digest=digest, model=model, came=time.time())
        behaviour, released, ended = self._behaviour, self._released, "gone"
        met = self._is_met(text)
        self._tell_if_reached()
        try:
            if behaviour.hold and met:
                await released.wait()
                met = False
            await asyncio.sleep(behaviour.latency)
            status = behaviour.status if met else 200
            ended = str(status)
        finally:
            if log is self._log:
                self._write(number=number, ended=ended)
        response = _refusal(behaviour) if status != 200 else _completion(model, seed)
        with contextlib.suppress(ConnectionError):  # the client was killed
            await response.prepare(request)
            await response.write_eof()
        if log is self._log:
            self._sent += 1
            self._tell_if_reached()
        return response

    async def _list_models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in MODELS]})


def _refusal(behaviour: Behaviour) -> web.Response:
    after = behaviour.retry_after
    headers = {} if after is None else {"Retry-After": f"{after:g}"}
    body = {"error": {"message": "the mock endpoint refuses this"}}
    return web.json_response(body, status=behaviour.status, headers=headers)


def _completion(model: str, seed: int | None) -> web.Response:
    message = {"role": "assistant", "content": f"{model} answers to {seed}"}
    return web.json_response(
        {
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS},
        }
    )


def _tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    asyncio.run(_Server(sys.argv[1]).serve())
