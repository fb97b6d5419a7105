"""A client of the gateway by hand: what the SDK sends, step by step, and what it never would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import socket
import struct
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex
from typing import Any

import aiohttp
import ecies
from coincurve import PrivateKey, PublicKey
from Crypto.Hash import keccak

from tests.acceptance.gateway_process import GEMMA

RESET = struct.pack("ii", 1, 0)
PATIENCE = 60.0


def make_workflow(topic: str, **changed: Any) -> dict[str, Any]:
    """Give a workflow of one generation, as the SDK's builder writes them."""
    generation = {
        "id": "0",
        "name": "Task",
        "description": "Task Description",
        "operator": "generation",
        "messages": [{"role": "user", "content": "Tell about {{topic}}"}],
        "inputs": [{"name": "topic", "value": {"type": "read", "key": "topic"}, "required": True}],
        "outputs": [{"type": "write", "key": "told", "value": "__result"}],
    }
    return {
        "config": {"max_steps": 50, "max_time": 200, "tools": ["ALL"]},
        "external_memory": {"topic": topic},
        "tasks": [{**generation, **changed}],
        "steps": [{"source": "0", "target": "_end"}],
        "return_value": {"input": {"type": "read", "key": "told"}, "to_json": False},
    }


@dataclass(frozen=True, slots=True)
class RawTask:
    """A task as it travels.

    Attributes:
        id: of the client's own making.
        secret: of the task's key.
        node: the address of the identity that was picked.
        model: what travels as JSON.
    """

    id: str
    secret: PrivateKey
    node: str
    model: dict[str, Any]

    @property
    def body(self) -> bytes:
        payload = base64.b64encode(json.dumps(self.model).encode()).decode()
        return json.dumps({"value": {"payload": payload}}).encode()


@dataclass(frozen=True, slots=True)
class RawItem:
    """A result as it came.

    Attributes:
        id: of its task.
        signer: the address of whoever signed it.
        model: that ran.
        ciphertext: of a success.
        error: of a failure.
    """

    id: str
    signer: str
    model: str
    ciphertext: str | None
    error: str | None

    def open(self, task: RawTask) -> str:
        """Give the text of a success."""
        assert self.ciphertext is not None, self.error
        return ecies.decrypt(task.secret.secret, bytes.fromhex(self.ciphertext)).decode()


def find_signer(signed: dict[str, Any]) -> str:
    """Give the address of whoever signed a message, as the SDK does."""
    signature = bytes.fromhex(signed["signature"]) + bytes([int(signed["recovery_id"])])
    point = PublicKey.from_signature_and_message(signature, signed["message"].encode())
    digest = keccak.new(digest_bits=256).update(point.format(compressed=False)[1:]).digest()
    return digest[-20:].hex()


def read_item(text: str) -> RawItem:
    signed = json.loads(text)
    said = json.loads(base64.b64decode(signed["message"]))
    name, suffix = said["taskId"].split("--")
    assert suffix
    return RawItem(
        id=name,
        signer=find_signer(signed),
        model=said["model"],
        ciphertext=said.get("ciphertext"),
        error=said.get("error"),
    )


class RawClient:
    """A client that does what the SDK does, step by step; one connection a call, as the SDK."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"x-api-key": key, "Content-Type": "application/json"}

    async def send(
        self, method: str, topic: str, body: bytes | None = None, wait: float = 30.0
    ) -> tuple[int, Any]:
        """Make a call; give the status and the JSON of the answer."""
        timeout = aiohttp.ClientTimeout(total=wait)
        address = f"{self._url}/rpc/{topic}"
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as http,
            http.request(method, address, data=body and io.BytesIO(body)) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text

    async def get(self, topic: str, wait: float = 30.0) -> tuple[int, Any]:
        return await self.send("GET", topic, wait=wait)

    async def post(self, body: bytes) -> int:
        return (await self.send("POST", "task", body))[0]

    async def find_nodes(self) -> list[tuple[str, str]]:
        """Give address and peer id of each node."""
        status, told = await self.get("get_alive_peers")
        assert status == 200, told
        heartbeats = [json.loads(text) for text in told["data"]["results"]]
        return [(find_signer(heartbeat), heartbeat["peer_id"]) for heartbeat in heartbeats]

    async def hand_in(self, *topics: str, model: str = GEMMA) -> dict[str, RawTask]:
        """Hand in a task for each topic; give them by their ids."""
        nodes = await self.find_nodes()
        tasks = [
            make_raw_task(make_workflow(topic), nodes[number % len(nodes)], model)
            for number, topic in enumerate(topics)
        ]
        for start in range(0, len(tasks), 50):
            some = tasks[start : start + 50]
            assert set(await asyncio.gather(*(self.post(t.body) for t in some))) == {200}
        return {task.id: task for task in tasks}

    async def poll(self, wait: float = 30.0) -> list[RawItem]:
        """Ask for results, once."""
        status, told = await self.get("results", wait)
        assert status == 200, told
        return [read_item(text) for text in told["data"]["results"] or []]

    async def collect(self, number: int) -> list[RawItem]:
        """Ask for results until there are so many."""
        found: list[RawItem] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < number:
                found += await self.poll()
        return found

    async def has_nothing_more(self, wait: float = 1.5) -> bool:
        """Tell whether a normal poll, and not one that is made again, is left to wait."""
        await self.find_nodes()
        with contextlib.suppress(TimeoutError):
            return not await self.poll(wait)
        return True


def make_raw_task(workflow: Any, node: tuple[str, str], model: str = GEMMA) -> RawTask:
    name, secret = token_hex(16), PrivateKey()
    address, peer = node
    told = {
        "taskId": name,
        "input": {"workflow": workflow, "model": [model]},
        "pickedNodes": [address],
        "deadline": "2036-01-01T00:00:00.000000+00:00",
        "publicKey": secret.public_key.format(compressed=False)[1:].hex(),
        "datasetId": sha256(b"tests").hexdigest(),
        "privateKey": f"0x{secret.to_hex()}",
        "nodePeerIds": [peer],
    }
    return RawTask(name, secret, address, told)


async def reset_while_receiving(url: str, key: str) -> int:
    """Ask for results and break the connection off once they begin to come; give what was read."""
    host, _, port = url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as one:
        # What does not fit in here is never acknowledged.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        one.setblocking(False)
        await loop.sock_connect(one, (host, int(port)))
        head = f"GET /rpc/results HTTP/1.1\r\nHost: {host}\r\nx-api-key: {key}\r\n\r\n"
        await loop.sock_sendall(one, head.encode())
        return len(await asyncio.wait_for(loop.sock_recv(one, 200), PATIENCE))
