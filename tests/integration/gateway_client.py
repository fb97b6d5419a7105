"""A gateway in the test's process, and a client of the SDK's kind."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from contextlib import asynccontextmanager
from hashlib import sha256

import aiohttp
from coincurve import PrivateKey, PublicKey
from ecies import decrypt

from dria_magpie import Dria, MagPie, Node
from dria_magpie.gateway import Gateway
from dria_magpie.network.signing import address_of
from dria_magpie.testing import ScriptedEngine

NAME, MODEL = "gemma2:9b-instruct-fp16", "tiny"


class Client:
    """Speaks to a gateway as the SDK does, and keeps its tasks' private keys."""

    def __init__(self, url: str, key: str, session: aiohttp.ClientSession) -> None:
        self.url, self.key, self._session = url, key, session
        self.secrets: dict[str, PrivateKey] = {}
        self.nodes: list[str] = []

    async def get(self, path: str) -> tuple[int, object]:
        headers = {"x-api-key": self.key}
        async with self._session.get(f"{self.url}{path}", headers=headers) as response:
            return response.status, await response.json()

    async def alive(self) -> dict[str, list[str]]:
        """Give the models of each node."""
        _, said = await self.get("/rpc/get_alive_peers")
        found = {}
        for text in said["data"]["results"]:
            beat = json.loads(text)
            content, address = read_signed(beat)
            assert beat["peer_id"]
            assert content["pending_tasks"][0] <= 3
            found[address] = content["models"]
        self.nodes = list(found)
        return found

    async def post(self, workflow: object, *, task: str | None = None, **changes: object) -> str:
        if not self.nodes:
            await self.alive()
        task = task or secrets.token_hex(16)
        status, _ = await self.post_raw(envelope(self.order(workflow, task) | changes))
        assert status == 200
        return task

    def order(self, workflow: object, task: str) -> dict[str, object]:
        secret = self.secrets.setdefault(task, PrivateKey())
        return {
            "taskId": task,
            "input": {"workflow": workflow, "model": [NAME]},
            "pickedNodes": [self.nodes[3]],
            "deadline": "2026-11-20T05:35:25.102269+00:00",
            "publicKey": secret.public_key.format(compressed=False)[1:].hex(),
            "datasetId": "x",
            "privateKey": "0x" + secret.to_hex(),
            "nodePeerIds": ["p"],
        }

    async def post_raw(self, body: bytes) -> tuple[int, object]:
        headers = {"x-api-key": self.key, "Content-Type": "application/json"}
        posting = self._session.post(f"{self.url}/rpc/task", data=body, headers=headers)
        async with posting as response:
            return response.status, await response.json()

    async def poll(self) -> dict[str, dict[str, object]]:
        """Ask for results once, as a new cycle does; give them opened, by task."""
        await self.alive()
        return await self.poll_again()

    async def poll_again(self) -> dict[str, dict[str, object]]:
        """Ask for results as the SDK does when its last answer broke off."""
        _, said = await self.get("/rpc/results")
        return dict(self.open(text) for text in said["data"]["results"])

    async def collect(self, number: int, timeout: float = 20) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = {}
        async with asyncio.timeout(timeout):
            while len(found) < number:
                for task, result in (await self.poll()).items():
                    assert task not in found, "delivered twice"
                    found[task] = result
        return found

    def open(self, text: str) -> tuple[str, dict[str, object]]:
        result, address = read_signed(json.loads(text))
        assert address == self.nodes[3], "signed by another node than the one that was picked"
        task, suffix = result["taskId"].split("--")
        assert suffix == sha256(self.key.encode()).hexdigest()
        assert set(result["stats"]) == {
            "receivedAt",
            "publishedAt",
            "executionStartedAt",
            "executionEndedAt",
        }
        if "ciphertext" in result:
            sealed = bytes.fromhex(result["ciphertext"])
            result["text"] = decrypt(self.secrets[task].secret, sealed).decode()
        return task, result


def envelope(order: object) -> bytes:
    payload = base64.b64encode(json.dumps(order, ensure_ascii=False).encode()).decode()
    return json.dumps({"value": {"payload": payload}}).encode()


def read_signed(item: dict[str, object]) -> tuple[dict[str, object], str]:
    signature = bytes.fromhex(item["signature"]) + bytes([item["recovery_id"]])
    key = PublicKey.from_signature_and_message(signature, item["message"].encode())
    return json.loads(base64.b64decode(item["message"])), address_of(key)


def workflow(turns: int = 1) -> dict[str, object]:
    return MagPie().workflow("A chemist", "A cook", num_turns=turns).model_dump()


def engine(answer=lambda _: "Why?", **options: object) -> ScriptedEngine:
    return ScriptedEngine(answer, models=[MODEL], **options)


@asynccontextmanager
async def serving(directory, made, **options):
    """Run a gateway, and give its URL."""
    dria = made if isinstance(made, Dria) else Dria(nodes=[Node(made)])
    gateway = Gateway(dria, directory, serve_as={NAME: MODEL}, **options)
    url = await gateway.start("127.0.0.1", 0)
    try:
        yield url
    finally:
        await gateway.aclose()
