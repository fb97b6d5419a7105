"""The verbs that run a network, within this process: hub, node, status, and access taken away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from dria_magpie import Dria, MagPie, Node, Task
from dria_magpie.cli import hub as hub_verb
from dria_magpie.cli import node as node_verb
from dria_magpie.cli.network_status import describe, read_status
from dria_magpie.errors import InvalidInputError, NetworkError
from dria_magpie.network.credentials import Credentials
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.server import crowding
from dria_magpie.network.server.process import start_server
from dria_magpie.testing import ScriptedEngine
from tests.integration.remote_field import make_home


@pytest.fixture
async def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIA_STORE_KEY", "a key for tests and nothing else")
    home = make_home(tmp_path)
    for kind, name in (("node", "gpu-1"), ("client", "me")):
        home.invite(kind, name)
    server = await start_server(home)
    yield home
    await server.stop()


@asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def wait_for_status(home, wanted):
    async with asyncio.timeout(10):
        while True:
            try:
                told = await read_status(home)
            except NetworkError:
                continue  # the hub is on its way
            if wanted(told):
                return told


def serve(home):
    node = Node(ScriptedEngine(lambda _: "Because.", models=["m"]), slots=2)
    return node_verb._serve(node, home.local_url, home.files.creds("gpu-1"))


async def test_status_tells_of_nodes_and_queues(home) -> None:
    async with running(hub_verb._run(home)):
        await wait_for_status(home, lambda _: True)
        async with running(serve(home)):
            await tell_of_one(home)


async def tell_of_one(home) -> None:
    await wait_for_status(home, lambda told: told["nodes"])
    async with Dria(home.local_url, creds=home.files.creds("me")) as dria:
        await dria.execute(Task(workflow=MagPie().workflow("A", "B"), models=["m"]))
    told = await wait_for_status(home, lambda told: told["nodes"][0]["completed"])
    said = describe(told)
    assert "node gpu-1: m; 0 of 2 slots in use, 1 completed, no failures" in said
    assert "idle: no task waits for its models" in said
    assert "queue of me" in said


async def test_a_node_that_is_barred_is_cut_off(home) -> None:
    async with running(hub_verb._run(home)):
        await wait_for_status(home, lambda _: True)
        async with running(serve(home)) as serving:
            told = await wait_for_status(home, lambda told: told["nodes"])
            await hub_verb._bar(home, told["nodes"][0]["address"])
            with pytest.raises(NetworkError, match="cut"):
                await asyncio.wait_for(serving, 10)
    assert [member.name for member in home.members() if member.revoked] == ["gpu-1"]


async def test_access_of_nobody_cannot_be_taken_away(home, caplog) -> None:
    await hub_verb._bar(home, "0" * 40)
    assert "cannot be taken away" in caplog.text


async def test_a_clients_credentials_make_no_node(home) -> None:
    with pytest.raises(InvalidInputError, match="invite DIR --node NAME"):
        await node_verb._serve(Node(ScriptedEngine(["x"])), home.local_url, home.files.creds("me"))


async def test_a_nodes_credentials_hand_in_no_tasks(home) -> None:
    with pytest.raises(InvalidInputError, match="invite DIR --client NAME"):
        Dria(home.local_url, creds=home.files.creds("gpu-1"))


async def test_nobody_keeps_more_connections_than_some(home, monkeypatch, caplog) -> None:
    monkeypatch.setattr(crowding, "MOST_CONNECTIONS", 10)
    monkeypatch.setattr(crowding, "_LOOK", 0.1)
    monkeypatch.setattr(crowding, "_PAGE", 7)
    credentials = Credentials.read(home.files.creds("gpu-1"))
    async with running(hub_verb._run(home)):
        await wait_for_status(home, lambda _: True)
        crowd = [await connect_once(home.local_url, credentials) for _ in range(25)]
        async with asyncio.timeout(10):
            while sum(one.is_connected for one in crowd) > 10:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.02)
        assert await read_status(home)
        assert [one.is_connected for one in crowd] == [True] * 10 + [False] * 15
        await asyncio.gather(*(one.close() for one in crowd))
    told = [r for r in caplog.records if getattr(r, "action", "") == "connections_closed"]
    assert {(record.member, record.levelname) for record in told} == {("gpu-1", "WARNING")}
