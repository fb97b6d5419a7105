"""Whether a gateway is there, and `use_gateway` with a double of the SDK.

The SDK itself has no place in this environment; ``tests/sdk`` has the same on the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tenacity import wait_none

from dria_magpie.errors import InvalidInputError, NetworkError, NoNodeError
from dria_magpie.integrations import asking, listening
from dria_magpie.integrations import dria as integration
from dria_magpie.integrations.asking import AwayError, check_gateway, clean_url, find_served
from dria_magpie.integrations.dria import use_gateway
from tests.certificates import make_certificate
from tests.gateway_stand_in import KEY, StandIn, stand_in, write_heartbeat

MODEL = "gemma2:9b-instruct-fp16"
PEERS = "/rpc/get_alive_peers"


@pytest.fixture
def gateway() -> Iterator[StandIn]:
    with stand_in(MODEL) as server:
        yield server


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("http://127.0.0.1:8642", "http://127.0.0.1:8642"),
        ("http://127.0.0.1:8642///", "http://127.0.0.1:8642"),
        (" https://host/dria/\n", "https://host/dria"),
        ("http://[::1]:8642", "http://[::1]:8642"),
    ],
)
def test_an_address_is_given_as_the_sdk_takes_it(url: str, cleaned: str) -> None:
    assert clean_url(url) == cleaned


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:8642", "localhost", "ftp://host", "http://", "http://host:99999",
        "http://[::1", "http://host:port", "http://host:0", "http://me@host",
        "http://host/?key=1", "http://host/#top", None, 8642, b"http://host",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: object) -> None:
    with pytest.raises(InvalidInputError, match=r"write it as in http|host, port and path"):
        clean_url(url)


async def test_a_gateway_is_known_as_one(gateway: StandIn) -> None:
    await check_gateway(gateway.url, KEY)
    assert await find_served(gateway.url, KEY) == {MODEL}


async def test_names_of_all_nodes_come_together_and_what_is_no_heartbeat_is_passed_over(
    gateway: StandIn,
) -> None:
    heartbeats = [write_heartbeat(["a", "b"]), "nothing", "{}", '{"message": "bm8="}', "[" * 9999]
    heartbeats.append(write_heartbeat(["c"]))
    gateway.answers[PEERS] = 200, _peers(heartbeats), {}
    assert await find_served(gateway.url, KEY) == {"a", "b", "c"}
    gateway.answers[PEERS] = 200, b'{"data": {"results": null}}', {}
    assert await find_served(gateway.url, KEY) == frozenset()


def _peers(heartbeats: list[str]) -> bytes:
    return json.dumps({"data": {"results": heartbeats}}).encode()


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("/health", (200, b"<html>", {}), "something else answers .* /health gives HTTP 200"),
        ("/health", (404, b"", {}), "something else answers .* HTTP 404"),
        ("/health", (503, b"", {}), r"no gateway behind .* now \(HTTP 503\)"),
        ("/health", (308, b"", {"Location": "https://host/health"}), "on to https://host/health"),
        (PEERS, (401, b"", {}), "does not know this key; make one"),
        (PEERS, (404, b"{}", {}), r"something else answers .* no nodes \(HTTP 404\)"),
        (PEERS, (200, b"[]", {}), "something else answers"),
        (PEERS, (200, b"\xff", {}), "something else answers"),
        (PEERS, (200, b'{"data": {"results": [1]}}', {}), "something else answers"),
    ],
)
async def test_what_is_no_gateway_is_told_of(
    gateway: StandIn, path: str, answer: Any, told: str
) -> None:
    gateway.answers[path] = answer
    with pytest.raises(NetworkError, match=told) as caught:
        await check_gateway(gateway.url, KEY)
    assert KEY not in str(caught.value)


async def test_a_server_that_speaks_no_http_is_told_of() -> None:
    with _say(b"220 mail.example ESMTP\r\n") as url, pytest.raises(NetworkError) as caught:
        await check_gateway(url, KEY)
    assert "something else answers" in str(caught.value)


async def test_a_server_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "_WAIT", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(AwayError, match=r"nothing answers at .* within 0\.1 s"),
    ):
        await check_gateway(f"http://127.0.0.1:{server.getsockname()[1]}", KEY)


async def test_a_host_that_is_not_there_is_told_of() -> None:
    with pytest.raises(AwayError, match="start it with dria-magpie gateway"):
        await check_gateway("http://no-such-host.invalid:8642", KEY)


@contextlib.contextmanager
def _say(words: bytes) -> Iterator[str]:
    """Give the URL of a server that answers with these words, once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as one:
                one.recv(65536)
                one.sendall(words)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


# --- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Give a file with a key, and a certificate that nobody trusts."""
    return make_certificate(tmp_path / "gateway.pem")


@pytest.fixture
def tls_gateway(certificate: Path) -> Iterator[StandIn]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with stand_in(MODEL, context=context) as server:
        yield server


async def test_a_certificate_that_nobody_trusts_is_told_of(tls_gateway: StandIn) -> None:
    with pytest.raises(NetworkError, match=r"certificate at https://.* SSL_CERT_FILE") as caught:
        await check_gateway(tls_gateway.url, KEY)
    assert not isinstance(caught.value, AwayError)


async def test_the_wrong_scheme_is_told_of(tls_gateway: StandIn, gateway: StandIn) -> None:
    with pytest.raises(NetworkError, match="begins with http://"):
        await check_gateway(gateway.url.replace("http:", "https:"), KEY)
    with pytest.raises(NetworkError, match="begins with https://"):
        await check_gateway(tls_gateway.url.replace("https:", "http:"), KEY)


# --- a double of the SDK


class _Gemma(Enum):
    GEMMA = MODEL


class _Task(SimpleNamespace):
    """What the SDK calls a task."""


class _Workflow:
    """What the SDK's builder makes."""

    def model_dump(self, warnings: bool = True) -> dict[str, Any]:
        return {"schema": _Workflow}


class _Client:
    """What the SDK calls a client; it gives back what it was to execute."""

    def __init__(self, key: str = KEY) -> None:
        self.rpc = SimpleNamespace(base_url="https://gone.example", headers={"x-api-key": key})
        self.background_tasks: asyncio.Task[None] | None = None
        self.shutdown_event = asyncio.Event()

    async def execute(self, task: Any, timeout: int = 300) -> Any:
        await self.push(task if isinstance(task, list) else [task])
        return task, timeout

    async def push(self, tasks: list[Any]) -> bool:
        return bool(tasks)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> _Client:
    groups = {"SmallModels": _Gemma, "OpenAIModels": Enum("_OpenAI", {"GPT4O": "gpt-4o"})}
    for name, members in {
        "dria.client": {"Dria": _Client},
        "dria.models": {"Task": _Task},
        "dria.models.enums": groups,
        "dria_workflows": {"Workflow": _Workflow},
    }.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(integration, "_PAUSE", 0.0)
    monkeypatch.setattr(integration._ask.retry, "wait", wait_none())
    return _Client()


def _task(*models: Any, **changed: Any) -> _Task:
    made: dict[str, Any] = {"workflow": {"external_memory": {}}, "dataset_id": "d"}
    return _Task(**{**made, "models": list(models) or [MODEL], **changed})


async def test_tasks_that_somebody_serves_go_on_to_the_sdk(
    client: _Client, gateway: StandIn
) -> None:
    assert use_gateway(client, f"{gateway.url}/") is client
    assert client.rpc.base_url == gateway.url
    task = _task(_Gemma.GEMMA)
    assert await client.execute(task) == (task, 300)
    assert await client.execute(task=[task], timeout=5) == ([task], 5)
    assert await client.execute([_task("small")], 7)
    assert await client.push([task])
    assert gateway.asked[PEERS] == 5


async def test_a_second_call_wraps_nothing_twice(client: _Client, gateway: StandIn) -> None:
    use_gateway(use_gateway(client, gateway.url), gateway.url)
    gateway.asked.clear()
    await client.execute(_task())
    assert gateway.asked[PEERS] == 1


@pytest.mark.parametrize(
    ("task", "error", "told"),
    [
        (_task("gpt-4o"), NoNodeError, "nobody serves gpt-4o at .*, which serves gemma2:9b"),
        (_task("openai"), NoNodeError, "nobody serves gpt-4o at"),
        (_task(*"abcdefghijkl"), NoNodeError, "nobody serves a, b, c, d, e, f, g, h, i, j, … at"),
        (_task(dataset_id=None), InvalidInputError, "dataset_id"),
        (_task(models=[]), InvalidInputError, "needs models"),
        (_task(workflow={}), InvalidInputError, "external_memory"),
        (_task(workflow="text"), InvalidInputError, r"not a builtins\.str"),
        (_task(workflow={"external_memory": {1, 2}}), InvalidInputError, "must be JSON"),
        (_task(workflow={"external_memory": "x" * 196_608}), InvalidInputError, "196,608 of JSON"),
    ],
)
async def test_tasks_that_cannot_come_back_are_refused(
    client: _Client, gateway: StandIn, task: _Task, error: type[Exception], told: str
) -> None:
    use_gateway(client, gateway.url)
    for refused in (client.execute([_task(), task]), client.push([task])):
        with pytest.raises(error, match=told):
            await refused


async def test_the_sdk_gets_what_is_no_task_as_it_is(client: _Client, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    assert await client.execute("no task") == ("no task", 300)
    assert await client.execute(_task(workflow=_Workflow()))


async def test_who_serves_nothing_for_long_is_told_of(client: _Client, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    gateway.served.clear()
    with pytest.raises(NoNodeError, match="serves no model yet"):
        await client.execute(_task())


async def test_a_gateway_that_is_away_is_asked_as_often_as_the_sdk_asks(
    client: _Client, gateway: StandIn
) -> None:
    use_gateway(client, gateway.url)
    gateway.asked.clear()
    gateway.answers[PEERS] = 502, b"", {}
    with pytest.raises(NetworkError, match="HTTP 502") as caught:
        await client.execute(_task())
    assert type(caught.value) is NetworkError
    assert gateway.asked[PEERS] == 3


async def test_who_has_stopped_listening_is_told_of(
    client: _Client, gateway: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down() -> None:
        raise ConnectionError("the gateway is away")

    async def execute(task: Any) -> None:
        client.background_tasks = asyncio.create_task(break_down())
        await asyncio.sleep(30)

    monkeypatch.setattr(listening, "_LOOK", 0.02)
    monkeypatch.setattr(client, "execute", execute)
    use_gateway(client, gateway.url)
    with pytest.raises(NetworkError, match=r"went away.* Hand the tasks in again") as caught:
        await client.execute(_task())
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_a_timeout_of_the_sdk_is_its_own(
    client: _Client, gateway: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def execute(task: Any) -> None:
        raise TimeoutError("the SDK's own")

    monkeypatch.setattr(client, "execute", execute)
    use_gateway(client, gateway.url)
    with pytest.raises(TimeoutError, match="the SDK's own"):
        await client.execute(_task())


def test_a_gateway_that_does_not_answer_changes_nothing(client: _Client) -> None:
    with stand_in() as gone:
        url = gone.url
    with pytest.raises(NetworkError, match="nothing answers at") as caught:
        use_gateway(client, url)
    assert type(caught.value) is NetworkError
    assert client.rpc.base_url == "https://gone.example"
    assert "execute" not in vars(client)


@pytest.mark.parametrize("other", [None, object(), _Client])
def test_only_a_client_of_the_sdk_will_do(client: _Client, other: object) -> None:
    with pytest.raises(InvalidInputError, match=r"a dria\.client\.Dria, not a"):
        use_gateway(other, "http://127.0.0.1:8642")


def test_without_the_sdk_nothing_is_a_client_of_it() -> None:
    with pytest.raises(InvalidInputError, match=r"a dria\.client\.Dria, not a"):
        use_gateway(_Client(), "http://127.0.0.1:8642")


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", "a\x00b"])
def test_a_key_that_cannot_be_sent_is_told_of(client: _Client, gateway: StandIn, key: str) -> None:
    with pytest.raises(InvalidInputError, match="give rpc_token without it") as caught:
        use_gateway(_Client(key), gateway.url)
    assert key.strip() not in str(caught.value)
