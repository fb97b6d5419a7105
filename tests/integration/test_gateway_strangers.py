"""What strangers, and machines at their limits, do to a gateway: nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sqlite3
from contextlib import closing

import pytest

from dria_magpie.gateway.store.connection import FILE
from tests.integration.gateway_client import Client, engine, serving, workflow

POST = b"POST /rpc/task HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\n"


async def _send(url: str, text: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(text)
        async with asyncio.timeout(10):
            return await reader.read(65536)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "text",
    [
        b"GET /rpc/results HTTP/1.1\r\nhost: x\r\nx-api-key: my-SECRET\0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nZZ-SECRET\r\n",
        POST + b"content-encoding: gzip\r\ncontent-length: 6\r\n\r\nSECRET",
    ],
)
async def test_what_cannot_be_read_is_not_written_into_the_log(
    directory, key, session, caplog, text
) -> None:
    caplog.set_level("INFO")
    async with serving(directory, engine()) as url:
        answer = await _send(url, text.replace(b"KEY", key.encode()))
        assert not answer or b" 400 " in answer.splitlines()[0]
        assert (await Client(url, key, session).get("/rpc/get_alive_peers"))[0] == 200
    assert "SECRET" not in caplog.text
    assert key not in caplog.text


async def test_a_strangers_body_is_not_unpacked(directory, key, session, monkeypatch) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    async with serving(directory, engine()) as url:
        used = os.times().user
        headers = {"Content-Encoding": "gzip", "x-api-key": "nobody's"}
        async with session.post(f"{url}/rpc/task", data=bomb, headers=headers) as response:
            assert response.status == 401
        assert os.times().user - used < 0.1


async def test_who_says_nothing_is_disconnected_and_who_waits_is_not(
    directory, key, session, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.idlers._HEAD_SECONDS", 0.1)
    monkeypatch.setattr("dria_magpie.gateway.idlers._LOOK", 0.02)
    monkeypatch.setattr("dria_magpie.gateway.polls.POLL_SECONDS", 0.6)
    async with serving(directory, engine()) as url:
        polling = asyncio.create_task(Client(url, key, session).get("/rpc/results"))
        assert await _send(url, b"GET /rpc/results HT") == b""
        assert not polling.done()
        assert await polling == (200, {"data": {"results": []}})


async def test_results_arrive_where_no_file_can_be_opened(
    directory, key, session, monkeypatch
) -> None:
    def refuse(_: int) -> int:
        raise OSError(24, "Too many open files")

    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        monkeypatch.setattr("dria_magpie.gateway.delivery.os.dup", refuse)
        task = await client.post(workflow())
        assert json.loads((await client.collect(1))[task]["text"]) == ["Why?", "Why?"]


async def test_a_clock_that_was_set_back_holds_nothing_up(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        async with asyncio.timeout(10):
            while not _query(directory, "SELECT 1 FROM tasks WHERE finished IS NOT NULL"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    change = "UPDATE tasks SET received = received + 3600, finished = finished + 3600"
    _query(directory, change)
    async with serving(directory, engine()) as url:
        client.url = url
        assert list(await client.collect(1, timeout=10)) == [task]


def _query(directory, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(directory / FILE)) as store, store:
        return store.execute(sql).fetchall()
