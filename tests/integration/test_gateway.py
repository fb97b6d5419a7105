"""The gateway over HTTP, in this process: what a client of the SDK's kind sees of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import struct
import sys
from contextlib import AsyncExitStack, closing

import aiohttp
import pytest

from dria_magpie import Dria, GenerationRequest, LocalNetwork, Node, cli
from dria_magpie.cli import gateway as gateway_verb
from dria_magpie.errors import (
    ContextLengthError,
    DriaMagpieError,
    EmptyCompletionError,
    EndpointError,
    EngineError,
    InvalidInputError,
    StoreError,
)
from dria_magpie.gateway import Gateway
from dria_magpie.gateway.keys import create_key, list_keys, revoke_key
from dria_magpie.gateway.store import Store
from dria_magpie.gateway.store.connection import FILE, open_store
from dria_magpie.gateway.store.writer import Writer
from dria_magpie.network.remote import RemoteNetwork
from dria_magpie.network.server.process import start_server
from dria_magpie.network.server.tls import make_certificates
from dria_magpie.testing import ScriptedEngine
from tests.integration.gateway_client import (
    MODEL,
    NAME,
    Client,
    engine,
    envelope,
    read_signed,
    serving,
    workflow,
)
from tests.integration.remote_field import (
    join,
    make_home,
    running_agent,
    running_hub,
    wait_for_nodes,
)


async def test_a_task_is_run_sealed_and_signed_by_the_node_that_was_picked(
    directory, key, session
) -> None:
    async with serving(directory, engine(lambda _: "Ça va ☕")) as url:
        client = Client(url, key, session)
        assert len(await client.alive()) == 10
        task = await client.post(workflow())
        result = (await client.collect(1))[task]
    assert json.loads(result["text"]) == ["Ça va ☕", "Ça va ☕"]
    assert result["model"] == MODEL


async def test_every_node_tells_of_names_and_of_what_the_network_serves(
    directory, key, session
) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        async with asyncio.timeout(5):
            while {tuple(models) for models in (await client.alive()).values()} != {(NAME, MODEL)}:
                pass
        before = client.nodes
    async with serving(directory, engine()) as url:
        await (again := Client(url, key, session)).alive()
    assert again.nodes == before


async def test_a_result_waits_until_the_client_knows_its_task(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        polling = asyncio.create_task(client.poll())
        await client.post(workflow())
        posted = asyncio.get_running_loop().time()
        assert await polling
        assert asyncio.get_running_loop().time() - posted >= 0.7


async def test_a_task_that_is_handed_in_twice_runs_once(directory, key, session) -> None:
    made = engine()
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        await client.post(workflow(), task=task)
        await client.collect(1)
        await client.post(workflow(), task=task)
        assert made.calls == 2


async def test_a_result_that_came_before_its_tasks_answer_goes_out_again(
    directory, key, session
) -> None:
    made = engine()
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        assert list(await client.poll()) == [task]
        # The answer to the POST was lost, so that the client has passed over what it was given
        await client.post(workflow(), task=task)
        posted = asyncio.get_running_loop().time()
        assert list(await client.poll()) == [task]
        assert asyncio.get_running_loop().time() - posted >= 0.7
    assert made.calls == 2


async def test_what_was_accepted_is_run_after_a_restart(directory, key, session) -> None:
    blocked = asyncio.Event()

    async def never(_: GenerationRequest) -> str:
        blocked.set()
        return await asyncio.Event().wait()

    async with serving(directory, engine(never)) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        await blocked.wait()
    async with serving(directory, engine()) as url:
        client.url = url
        assert list(await client.collect(1)) == [task]


async def test_no_turn_is_paid_for_twice_when_the_gateway_is_restarted(
    directory, key, session
) -> None:
    third = asyncio.Event()

    async def stop_at_the_third(_: GenerationRequest) -> str:
        if first.calls == 3:
            third.set()
            await asyncio.Event().wait()
        return f"turn {first.calls}"

    first, second = engine(stop_at_the_third), engine(lambda _: "later")
    async with serving(directory, first) as url:
        client = Client(url, key, session)
        task = await client.post(workflow(2))
        await third.wait()
    async with serving(directory, second) as url:
        client.url = url
        result = (await client.collect(1))[task]
    assert json.loads(result["text"]) == ["turn 1", "turn 2", "later", "later"]
    assert second.calls == 2


async def test_a_result_that_nobody_has_asked_for_is_there_after_a_restart(
    directory, key, session
) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        await wait_for(directory, "SELECT count(*) FROM tasks WHERE item IS NOT NULL")
    nobody = engine()
    async with serving(directory, nobody) as url:
        client.url = url
        assert list(await client.collect(1)) == [task]
    assert not nobody.calls


async def wait_for(directory, sql: str, *values: object) -> None:
    async with asyncio.timeout(10):
        while True:
            with closing(sqlite3.connect(directory / FILE)) as connection:
                if connection.execute(sql, values).fetchone()[0]:
                    return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ContextLengthError("too long"), "Invalid prompt: ContextLengthError: too long"),
        (EndpointError("no", 400), "Invalid prompt: EndpointError: no"),
    ],
)
async def test_a_failure_for_good_ends_the_clients_wait_at_once(
    directory, key, session, error, told
) -> None:
    made = engine(lambda _: error)
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        result = (await client.collect(1, timeout=5))[task]
    assert result["error"] == told
    assert result["model"] == NAME
    assert made.calls == 1


async def test_a_failure_that_may_pass_is_tried_again_from_where_it_stood(
    directory, key, session
) -> None:
    made = ScriptedEngine(["Why?", EngineError("broke"), "Because."], models=[MODEL])
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        result = (await client.collect(1))[task]
    assert json.loads(result["text"]) == ["Why?", "Because."]


async def test_a_failure_that_does_not_pass_is_told_after_three_attempts(
    directory, key, session
) -> None:
    made = engine(lambda _: EmptyCompletionError("nothing"))
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        result = (await client.collect(1))[task]
    assert result["error"].startswith("Invalid prompt: ")
    assert made.calls == 3


async def test_a_task_waits_while_nothing_gets_through(
    directory, key, session, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.retry._FIRST_WAIT", 0.05)
    down = [EndpointError("not there")] * 4
    made = ScriptedEngine([*down, "Why?", "Because."], models=[MODEL])
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        await client.post(workflow())
        [result] = (await client.collect(1)).values()
    assert "error" not in result


class LateEngine(ScriptedEngine):
    """Cannot be started twice, and then it can."""

    tries = 0

    async def start(self) -> None:
        self.tries += 1
        if self.tries < 3:
            raise EngineError("not yet")
        await super().start()


async def test_a_network_that_cannot_be_started_is_tried_again_and_tasks_wait(
    directory, key, session, caplog
) -> None:
    late = LateEngine(lambda _: "Why?", models=[MODEL])
    async with serving(directory, late) as url:
        client = Client(url, key, session)
        assert set(map(tuple, (await client.alive()).values())) == {(NAME,)}
        await client.post(workflow())
        assert await client.collect(1)
    assert "cannot be started, and tasks wait: not yet" in caplog.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input": {"workflow": {"tasks": [{}]}, "model": [NAME]}}, "not a workflow"),
        ({"input": {"workflow": "no graph", "model": [NAME]}}, "a workflow is a dict"),
        ({"input": {"workflow": {}, "model": ["unheard-of"]}}, "not a workflow"),
    ],
)
async def test_what_cannot_be_run_is_answered_with_the_reason(
    directory, key, session, change, reason
) -> None:
    made = engine()
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        task = await client.post(workflow(), **change)
        result = (await client.collect(1))[task]
    assert result["error"].startswith(f"Invalid prompt: {reason}")
    assert not made.calls


async def test_a_model_that_nobody_serves_is_answered_with_those_that_are(
    directory, key, session
) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        unheard = {"workflow": workflow(), "model": ["unheard-of"]}
        task = await client.post(workflow(), input=unheard)
        result = (await client.collect(1))[task]
    assert "nobody serves unheard-of; served here: " in result["error"]


async def test_an_unknown_operator_is_answered(directory, key, session) -> None:
    graph = workflow()
    graph["tasks"][0]["operator"] = "teleport"
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(graph)
        result = (await client.collect(1))[task]
    assert "operator" in result["error"]


async def test_a_node_that_is_nobodys_is_answered(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.post(workflow(), pickedNodes=["0" * 40])
        client.nodes = [""] * 3 + client.nodes[:1]  # nobody can sign for a node that is not there
        _, said = await client.get("/rpc/results")
    [item] = said["data"]["results"]
    result, _ = read_signed(json.loads(item))
    assert result["error"].startswith("Invalid prompt: the node that was picked")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"value": {"payload": "%%%"}}',
        b'{"value": {"payload": "e30="}}',
        b'{"value": {"payload": 3}}',
        b"\xff\xfe",
        b"",
        b"[" * 100_000,
    ],
)
async def test_what_is_no_task_is_refused(directory, key, session, body) -> None:
    async with serving(directory, engine()) as url:
        status, said = await Client(url, key, session).post_raw(body)
    assert status == 400
    assert said["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"publicKey": "00" * 64},
        {"publicKey": "zz"},
        {"taskId": "a--b"},
        {"taskId": ""},
        {"input": {"workflow": {}, "model": []}},
        {"pickedNodes": []},
    ],
)
async def test_a_task_with_a_wrong_field_is_refused_without_its_secret(
    directory, key, session, change, caplog
) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        order = client.order(workflow(), "t") | change
        status, said = await client.post_raw(envelope(order))
    assert status == 400
    assert order["privateKey"][2:] not in json.dumps(said) + caplog.text


async def test_the_private_key_is_nowhere(directory, key, session, caplog) -> None:
    caplog.set_level("DEBUG")
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        await client.collect(1)
        kept = b"".join(file.read_bytes() for file in directory.iterdir())
    secret = client.secrets[task].to_hex()
    assert secret.encode() not in kept
    assert bytes.fromhex(secret) not in kept
    assert secret not in caplog.text
    assert key.encode() not in kept
    assert key not in caplog.text


async def test_a_body_that_is_packed_is_refused(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        headers = {"x-api-key": key, "Content-Encoding": "gzip"}
        async with session.post(f"{url}/rpc/task", data=b"x", headers=headers) as response:
            assert response.status == 400
            assert "Content-Encoding 'gzip'" in (await response.json())["error"]


async def test_large_bodies_are_refused(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        assert (await client.post_raw(b" " * 600_000))[0] == 413

        async def pieces():
            for _ in range(10):
                yield b" " * 100_000

        assert (await client.post_raw(pieces()))[0] == 413


async def test_strangers_learn_nothing(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, "wrong", session)
        for path in ("/rpc/results", "/rpc/get_alive_peers", "/rpc/task", "/nothing"):
            assert (await client.get(path))[0] == 401
        assert (await client.post_raw(b"{}"))[0] == 401
        client.key = ""
        assert (await client.get("/rpc/results"))[0] == 401
        client.key = key
        assert (await client.get("/rpc/nothing"))[0] == 404
        assert (await client.get("/rpc/task"))[0] == 405
        async with session.get(f"{url}/health") as response:
            assert await response.text() == "Node is healthy"


async def test_two_keys_never_see_each_others_results(directory, key, session) -> None:
    other = create_key(directory, "other")
    async with serving(directory, engine()) as url:
        clients = [Client(url, key, session), Client(url, other, session)]
        tasks = [await client.post(workflow()) for client in clients]
        found = await asyncio.gather(*(client.collect(1) for client in clients))
    assert [list(each) for each in found] == [[task] for task in tasks]


async def test_a_key_that_was_made_just_now_works_among_strangers(directory, session) -> None:
    async with serving(directory, engine()) as url:
        stranger = Client(url, "wrong", session)
        strangers = [asyncio.create_task(stranger.get("/rpc/results")) for _ in range(20)]
        client = Client(url, create_key(directory, "new"), session)
        asked = await asyncio.gather(*(client.get("/rpc/get_alive_peers") for _ in range(50)))
        assert {status for status, _ in asked} == {200}
        assert {status for status, _ in await asyncio.gather(*strangers)} == {401}


async def test_a_revoked_key_is_cut_off_with_its_polls_and_tasks(directory, key, session) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never(_: GenerationRequest) -> str:
        begun.set()
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(directory, engine(never)) as url:
        client = Client(url, key, session)
        await client.post(workflow())
        polling = asyncio.create_task(client.get("/rpc/results"))
        await begun.wait()
        assert revoke_key(directory, "me") == 1
        status, _ = await asyncio.wait_for(polling, 2)
        assert status == 401
        await asyncio.wait_for(ended.wait(), 1)
        assert (await client.get("/rpc/get_alive_peers"))[0] == 401
    assert list_keys(directory) == ()


async def test_a_keys_use_and_what_waits_are_listed(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.post(workflow())
    [listed] = list_keys(directory)
    assert listed.used
    assert listed.waiting == 1


async def test_keys_have_names_of_their_own(directory, key) -> None:
    with pytest.raises(InvalidInputError, match="already"):
        create_key(directory, "me")
    with pytest.raises(InvalidInputError, match="64 letters"):
        create_key(directory, "no spaces")
    with pytest.raises(InvalidInputError, match="no key 'you'"):
        revoke_key(directory, "you")
    assert list_keys(directory / "nothing") == ()


async def test_files_are_for_their_owner(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        await Client(url, key, session).post(workflow())
        modes = {file.stat().st_mode & 0o777 for file in directory.iterdir()}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert modes == {0o600}


async def test_polls_that_are_held_get_an_empty_list_when_the_gateway_ends(
    directory, key, session
) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        polling = asyncio.create_task(client.poll())
        await asyncio.sleep(0.2)
    assert await asyncio.wait_for(polling, 1) == {}


async def test_results_that_a_client_did_not_read_go_out_again(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        await read_a_little(url, key)
        assert list(await client.collect(1)) == [task]


async def read_a_little(url: str, key: str, body: bytes | None = None) -> None:
    """Ask for results, or post, and tear the connection down with the answer unread."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=64)
    what = "GET /rpc/results" if body is None else "POST /rpc/task"
    length = f"Content-Length: {len(body or b'')}\r\n"
    writer.write(f"{what} HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\n{length}\r\n".encode())
    writer.write(body or b"")
    await reader.readexactly(1)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def test_tasks_wait_for_one_whose_client_did_not_read_that_it_was_taken(
    directory, key, session, caplog
) -> None:
    caplog.set_level("INFO")
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        tasks = [await client.post(workflow()) for _ in range(2)]
        await read_a_little(url, key, envelope(client.order(workflow(), "lost")))
        assert (await wait_for_line(caplog, "post_broke")).task_id == "lost"
        polling = asyncio.create_task(client.poll())
        _, pending = await asyncio.wait({polling}, timeout=1.0)
        assert pending
        await client.post(workflow(), task="lost")
        assert {*await polling} == {*tasks, "lost"}


async def test_a_task_whose_client_does_not_come_again_holds_nothing_up_for_long(
    directory, key, session
) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        await read_a_little(url, key, envelope(client.order(workflow(), "lost")))
        assert {*await client.collect(2, timeout=5)} == {task, "lost"}


async def test_behind_a_proxy_a_result_waits_for_a_second_post(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        session.headers["X-Forwarded-For"] = "203.0.113.9"
        await client.post(workflow())
        posted = asyncio.get_running_loop().time()
        assert await client.poll()
        assert asyncio.get_running_loop().time() - posted >= 1.2


async def test_a_poll_whose_client_is_gone_takes_nothing(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        polling = asyncio.create_task(client.poll())
        await asyncio.sleep(0.1)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        task = await client.post(workflow())
        assert list(await client.collect(1)) == [task]


async def test_an_answer_that_a_proxy_lost_goes_out_again(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        assert list(await client.poll()) == [task]
        await asyncio.sleep(1)
        assert list(await client.poll_again()) == [task]


async def test_what_goes_out_again_in_vain_is_not_delivered_on_disk_either(
    directory, key, session, monkeypatch
) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        assert await client.poll()
        await wait_for(directory, "SELECT count(*) FROM tasks WHERE delivered IS NOT NULL")
        await asyncio.sleep(0.8)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read_items", failing)
            assert await client.poll_again() == {}
        await wait_for(directory, "SELECT count(*) FROM tasks WHERE delivered IS NULL")
        assert list(await client.poll()) == [task]


async def test_an_answer_that_arrived_does_not_go_out_again(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        assert list(await client.poll()) == [task]
        await asyncio.sleep(1)
        asking = asyncio.create_task(client.poll())
        _, pending = await asyncio.wait({asking}, timeout=1)
        assert pending
        asking.cancel()


async def test_delivered_results_are_not_there_after_a_restart(directory, key, session) -> None:
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.post(workflow())
        await client.collect(1)
    async with serving(directory, engine()) as url:
        client.url = url
        asking = asyncio.create_task(client.poll())
        _, pending = await asyncio.wait({asking}, timeout=1)
        assert pending
        asking.cancel()


async def test_a_full_queue_is_answered_and_other_keys_are_served(
    directory, key, session, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.queue.MOST_TASKS", 3)
    monkeypatch.setattr("dria_magpie.gateway.queue.MOST_REFUSALS", 2)
    other = create_key(directory, "other")
    gate = asyncio.Event()

    async def wait(_: GenerationRequest) -> str:
        await gate.wait()
        return "Why?"

    async with serving(directory, engine(wait, slots=64)) as url:
        client = Client(url, key, session)
        kept = [await client.post(workflow()) for _ in range(3)]
        refused = [await client.post(workflow()) for _ in range(2)]
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.post_raw(envelope(client.order(workflow(), "last")))
        gate.set()
        second = Client(url, other, session)
        assert [await second.post(workflow())] == list(await second.collect(1))
        found = await client.collect(5)
    assert {task for task in found if "queue full" in str(found[task].get("error"))} == {*refused}
    assert {*kept} == {task for task in found if "text" in found[task]}


async def test_one_keys_many_tasks_do_not_hold_up_anothers_one(directory, key, session) -> None:
    other = create_key(directory, "other")
    async with serving(directory, engine(latency=0.05, slots=1)) as url:
        many, one = Client(url, key, session), Client(url, other, session)
        await many.alive()
        await asyncio.gather(*(many.post(workflow()) for _ in range(100)))
        await one.post(workflow())
        await one.collect(1, timeout=4)
        [listed, _] = list_keys(directory)
        assert listed.waiting > 30


async def test_too_many_requests_are_slowed_down_and_never_refused_with_an_error(
    directory, key, session, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.limits.REQUESTS_AT_ONCE", 1)
    monkeypatch.setattr("dria_magpie.gateway.limits.REQUESTS_PER_SECOND", 2.0)
    monkeypatch.setattr("dria_magpie.gateway.polls.POLL_SECONDS", 0.1)
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        answers = await asyncio.gather(*(client.get("/rpc/results") for _ in range(6)))
        assert answers == [(200, {"data": {"results": []}})] * 6
        tasks = await asyncio.gather(*(client.post(workflow()) for _ in range(5)))
        found = await client.collect(5)
    late = [task for task in tasks if "error" in found[task]]
    assert 2 <= len(late) <= 4
    assert "queue full: more than 2 requests a second" in found[late[0]]["error"]


async def test_a_burst_is_not_told_before_all_of_it_is_done(directory, key, session) -> None:
    gate = asyncio.Event()

    async def hold_one(request: GenerationRequest) -> str:
        if made.calls == 10:
            await gate.wait()
        return "Why?"

    made = engine(hold_one)
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        await client.alive()
        await asyncio.gather(*(client.post(workflow()) for _ in range(5)))
        polling = asyncio.create_task(client.poll())
        _, pending = await asyncio.wait({polling}, timeout=2)
        assert pending
        gate.set()
        assert len(await polling) == 5


async def test_after_the_hold_results_come_as_they_are_done(directory, key, session) -> None:
    async def hold_one(request: GenerationRequest) -> str:
        if made.calls == 10:
            await asyncio.Event().wait()
        return "Why?"

    made = engine(hold_one)
    async with serving(directory, made, hold=1.5) as url:
        client = Client(url, key, session)
        await client.alive()
        await asyncio.gather(*(client.post(workflow()) for _ in range(5)))
        assert len(await client.collect(4, timeout=4)) == 4


async def test_a_second_gateway_refuses_the_directory(directory, key) -> None:
    async with serving(directory, engine()):
        with pytest.raises(DriaMagpieError, match="another gateway uses"):
            async with serving(directory, engine()):
                pass


async def test_a_place_where_nobody_can_listen_is_wrong_usage(directory) -> None:
    gateway = Gateway(Dria(nodes=[Node(engine())]), directory)
    with pytest.raises(InvalidInputError, match="cannot listen on 203"):
        await gateway.start("203.0.113.1", 80)


async def test_a_task_that_the_disk_has_no_room_for_is_not_accepted(
    directory, key, session, monkeypatch, caplog
) -> None:
    real = open_store

    def small(path):
        connection = real(path)
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        return connection

    monkeypatch.setattr("dria_magpie.gateway.store.writer.open_store", small)
    graph = workflow()
    graph["external_memory"]["padding"] = "x" * 100_000
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.post_raw(envelope(client.order(graph, "t")))
        assert "is full: make room" in caplog.text
        assert "Error handling request" not in caplog.text
        await client.post(workflow(), task="t")
        assert list(await client.collect(1)) == ["t"]


async def test_without_a_key_the_gateway_says_how_to_make_one(directory, caplog) -> None:
    async with serving(directory, engine()):
        assert "dria-magpie gateway key create" in caplog.text


async def test_a_result_that_a_network_made_while_the_gateway_was_down_is_not_made_again(
    directory, key, session, network_home
) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def wait(_: GenerationRequest) -> str:
        begun.set()
        await gate.wait()
        return "Why?"

    made = engine(wait)
    async with running_hub(network_home) as hub, running_agent(network_home, [made]):
        await wait_for_nodes(hub, 1)
        credentials = join(network_home)._credentials

        def connect() -> Dria:
            return Dria(RemoteNetwork(network_home.local_url, credentials, run_id="gateway"))

        async with serving(directory, connect()) as url:
            client = Client(url, key, session)
            task = await client.post(workflow(2))
            await begun.wait()
        gate.set()
        async with serving(directory, connect()) as url:
            client.url = url
            assert list(await client.collect(1)) == [task]
    assert made.calls == 4


@pytest.fixture
async def new_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIA_STORE_KEY", "a key for tests and nothing else")
    home = make_home(tmp_path)
    server = await start_server(home)
    yield home
    await server.stop()


async def test_a_network_without_nodes_is_asked_again(
    directory, key, session, new_home, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.supply._LOOK_AGAIN", 0.1)
    monkeypatch.setattr("dria_magpie.network.remote._LOOK", 0.1)
    dria = Dria(join(new_home, run_id="gateway"))
    async with running_hub(new_home) as hub, serving(directory, dria) as url:
        client = Client(url, key, session)
        await client.post(workflow())
        await wait_for_line(caplog, "no_nodes")
        async with running_agent(new_home, [engine()]):
            await wait_for_nodes(hub, 1)
            assert await client.collect(1)
    assert "no nodes yet" in caplog.text


async def test_tls(directory, key, tmp_path) -> None:
    tls = tmp_path / "tls"
    make_certificates(tls, "localhost")
    context = gateway_verb._read_tls(tls / "server.pem", tls / "server.key")
    gateway = Gateway(Dria(nodes=[Node(engine())]), directory, serve_as={NAME: MODEL})
    url = await gateway.start("127.0.0.1", 0, context)
    assert url.startswith("https://")
    trusting = ssl.create_default_context(cafile=tls / "ca.pem")
    connector = aiohttp.TCPConnector(ssl=trusting, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        client = Client(url, key, session)
        task = await client.post(workflow())
        assert list(await client.collect(1)) == [task]
    await gateway.aclose()


async def run(monkeypatch, *arguments: str) -> int:
    """Run a command in another thread, as it has an event loop of its own."""
    monkeypatch.setattr(sys, "argv", ["dria-magpie", "gateway", *arguments])
    monkeypatch.setattr("dria_magpie.cli.log.log_as_json", lambda: None)

    def call() -> int:
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return await asyncio.to_thread(call)


async def test_keys_are_made_listed_and_revoked(monkeypatch, capsys, directory) -> None:
    where = ("--dir", str(directory))
    assert await run(monkeypatch, "key", "create", "me", *where) == 0
    made = capsys.readouterr().out
    assert re.fullmatch(r"magpie-[A-Za-z0-9_-]{43}\n", made)
    assert await run(monkeypatch, "key", "list", *where) == 0
    assert re.fullmatch(r"me  made \S+Z  last used never  waiting 0\n", capsys.readouterr().out)
    assert await run(monkeypatch, "key", "create", "me", *where) == 2
    assert await run(monkeypatch, "key", "revoke", "me", *where) == 0
    assert await run(monkeypatch, "key", "revoke", "me", *where) == 2
    assert "there is no key 'me'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--listen", "8642"), "--listen takes HOST:PORT"),
        (("--listen", "localhost:x"), "--listen takes HOST:PORT"),
        (("--serve-as", "a"), "--serve-as takes NAME=MODEL"),
        (("--serve-as", "a=b", "--serve-as", "a=c"), "two models"),
        (("--network", "http://x"), "a network is a nats:// URL"),
        (("--endpoint", "x", "--network", "nats://x"), "not both"),
        (("--tls-cert", "nothing.pem"), "belong together"),
        (("--tls-cert", "nothing.pem", "--tls-key", "nothing.pem"), "cannot be used"),
        (("--listen", "203.0.113.1:80"), "cannot listen on 203.0.113.1:80"),
    ],
)
async def test_wrong_usage_is_told(monkeypatch, capsys, directory, arguments, told) -> None:
    assert await run(monkeypatch, "--dir", str(directory), *arguments) == 2
    assert told in capsys.readouterr().err


async def test_the_verb_serves_until_it_is_told_to_stop(directory, caplog) -> None:
    caplog.set_level("INFO")
    gateway = Gateway(Dria(nodes=[Node(engine())]), directory, serve_as={NAME: MODEL})
    running = asyncio.create_task(gateway_verb._run(gateway, "127.0.0.1", 0, None))
    ready = await wait_for_line(caplog, "gateway_ready")
    assert ready.serves == {NAME: MODEL}
    async with aiohttp.ClientSession() as session, session.get(f"{ready.url}/health") as answer:
        assert answer.status == 200
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 130


async def wait_for_line(caplog, action):
    async with asyncio.timeout(5):
        while True:
            for record in caplog.records:
                if vars(record).get("action") == action:
                    return record
            await asyncio.sleep(0.01)


class BrokenNetwork(LocalNetwork):
    """Has a defect."""

    async def run(self, task, state=None):
        raise ZeroDivisionError("something private")
        yield


async def test_a_defect_costs_a_task_and_is_not_quoted_in_the_log(
    directory, key, session, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.retry._FIRST_WAIT", 0.01)
    async with serving(directory, Dria(BrokenNetwork([Node(engine())]))) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        result = (await client.collect(1))[task]
    assert "ZeroDivisionError" in result["error"]
    assert "a run broke: ZeroDivisionError in run:" in caplog.text
    assert "something private" not in caplog.text


async def test_a_name_for_a_model_that_nobody_serves_fails_its_tasks(
    directory, key, session, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.retry._FIRST_WAIT", 0.01)
    other = ScriptedEngine(["never"], models=["other"])
    caplog.set_level("INFO")
    async with serving(directory, other) as url:
        assert (await wait_for_line(caplog, "model_unserved")).model == MODEL
        client = Client(url, key, session)
        assert set(map(tuple, (await client.alive()).values())) == {("other",)}
        task = await client.post(workflow())
        result = (await client.collect(1))[task]
    assert result["error"] == f"Invalid prompt: nobody serves {NAME}; served here: other"
    assert (await wait_for_line(caplog, "task_refused")).error == "NoNodeError"


async def test_an_endpoint_that_refuses_its_key_is_a_warning(
    directory, key, session, caplog
) -> None:
    async with serving(directory, engine(lambda _: EndpointError("who?", 401))) as url:
        client = Client(url, key, session)
        await client.post(workflow())
        failed = await wait_for_line(caplog, "task_failed")
    assert (failed.levelname, failed.error) == ("WARNING", "EndpointError")
    assert "--api-key-env" in failed.getMessage()


async def test_a_model_that_is_found_out_to_be_unserved_fails_its_tasks(
    directory, key, session, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.retry._FIRST_WAIT", 0.01)
    late = LateEngine(lambda _: "Why?", models=[MODEL])
    async with serving(directory, late) as url:
        client = Client(url, key, session)
        unheard = {"workflow": workflow(), "model": ["unheard-of"]}
        task = await client.post(workflow(), input=unheard)
        result = (await client.collect(1))[task]
    assert "nobody serves unheard-of" in result["error"]


async def failing(*_: object) -> None:
    raise StoreError("the disk is full")


async def test_a_full_disk_keeps_a_result_waiting_and_loses_nothing(
    directory, key, session, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.worker._STORE_AGAIN", 0.01)
    monkeypatch.setattr(Store, "keep_state", failing)
    monkeypatch.setattr(Store, "note_delivered", failing)
    real = Store.finish
    monkeypatch.setattr(Store, "finish", failing)
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        await wait_for_line(caplog, "result_not_kept")
        monkeypatch.setattr(Store, "finish", real)
        assert list(await client.collect(1)) == [task]
        await wait_for_line(caplog, "delivery_not_kept")
    assert "a turn is not kept" in caplog.text


async def test_attempts_go_on_where_the_disk_is_full(directory, key, session, monkeypatch) -> None:
    monkeypatch.setattr("dria_magpie.gateway.retry._FIRST_WAIT", 0.01)
    monkeypatch.setattr(Store, "keep_attempts", failing)
    made = ScriptedEngine([EngineError("broke"), "Why?", "Because."], models=[MODEL])
    async with serving(directory, made) as url:
        client = Client(url, key, session)
        task = await client.post(workflow())
        assert list(await client.collect(1)) == [task]


async def test_keys_that_cannot_be_read_stay_as_they_were(
    directory, key, session, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.upkeep._NOTE_EVERY", 0.0)
    async with serving(directory, engine()) as url:
        monkeypatch.setattr(Store, "read_keys", failing)
        monkeypatch.setattr(Store, "note_used", failing)
        assert await Client(url, key, session).alive()
        assert (await Client(url, "wrong", session).get("/rpc/results"))[0] == 401
        await wait_for_line(caplog, "not_kept")
    assert "keys cannot be read" in caplog.text


async def test_old_things_are_deleted(directory, key, session, monkeypatch, caplog) -> None:
    monkeypatch.setattr("dria_magpie.gateway.upkeep._TICK", 0.05)
    monkeypatch.setattr("dria_magpie.gateway.outbox.RESENT_SECONDS", 0.0)
    monkeypatch.setattr("dria_magpie.gateway.outbox.REMEMBERED_SECONDS", 0.2)
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.post(workflow())
        await client.collect(1)
        await wait_for(directory, "SELECT count(*) = 0 FROM tasks")
        monkeypatch.setattr("dria_magpie.gateway.upkeep.KEPT_SECONDS", 0.0)
        await client.post(workflow())
        assert (await wait_for_line(caplog, "results_dropped")).key == "me"
        await wait_for(directory, "SELECT count(*) = 0 FROM tasks")


async def test_what_cannot_be_deleted_now_is_deleted_later(
    directory, key, session, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.upkeep._TICK", 0.05)
    monkeypatch.setattr("dria_magpie.gateway.outbox.RESENT_SECONDS", 0.0)
    monkeypatch.setattr("dria_magpie.gateway.outbox.REMEMBERED_SECONDS", 0.0)
    real = Store.drop_items, Store.drop_tasks
    monkeypatch.setattr(Store, "drop_items", failing)
    monkeypatch.setattr(Store, "drop_tasks", failing)
    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.post(workflow())
        await client.collect(1)
        await wait_for_line(caplog, "not_cleared")
        monkeypatch.setattr(Store, "drop_items", real[0])
        caplog.clear()
        await wait_for_line(caplog, "not_cleared")
        monkeypatch.setattr(Store, "drop_tasks", real[1])
        await wait_for(directory, "SELECT count(*) = 0 FROM tasks")


async def test_upkeep_goes_on_after_a_defect(directory, key, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("dria_magpie.gateway.upkeep._TICK", 0.05)
    monkeypatch.setattr("dria_magpie.gateway.gateway._AGAIN", 0.05)
    monkeypatch.setattr("dria_magpie.gateway.keyring.Keyring.refresh", broken)
    gateway = Gateway(Dria(nodes=[Node(engine())]), directory)
    with pytest.raises(ZeroDivisionError):
        await gateway.start("127.0.0.1", 0)
    monkeypatch.undo()
    monkeypatch.setattr("dria_magpie.gateway.upkeep._TICK", 0.05)
    monkeypatch.setattr("dria_magpie.gateway.gateway._AGAIN", 0.05)
    async with serving(directory, engine()):
        monkeypatch.setattr("dria_magpie.gateway.upkeep.Upkeep._clear", broken)
        await wait_for_line(caplog, "gateway_broke")
        caplog.clear()
        await wait_for_line(caplog, "gateway_broke")


async def test_a_defect_is_no_error_for_who_asks_for_results(
    directory, key, session, monkeypatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with serving(directory, engine()) as url:
        client = Client(url, key, session)
        await client.alive()
        monkeypatch.setattr("dria_magpie.gateway.polls.Polls.answer", broken)
        monkeypatch.setattr("dria_magpie.gateway.posts.Posts.answer", broken)
        assert await client.poll() == {}
        status, _ = await client.post_raw(envelope(client.order(workflow(), "t")))
        assert status == 500


async def test_a_body_that_does_not_come_is_not_waited_for(
    directory, key, session, monkeypatch
) -> None:
    monkeypatch.setattr("dria_magpie.gateway.posts.BODY_SECONDS", 0.1)

    async def slow():
        yield b"{"
        await asyncio.sleep(0.5)

    async with serving(directory, engine()) as url:
        status, said = await Client(url, key, session).post_raw(slow())
    assert status == 400
    assert "did not come" in said["error"]


async def test_nodes_that_come_later_are_told_of(
    directory, key, session, new_home, caplog, monkeypatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("dria_magpie.gateway.supply._LOOK_AGAIN", 0.1)
    monkeypatch.setattr("dria_magpie.network.remote._LOOK", 0.1)
    dria = Dria(join(new_home, run_id="gateway"))
    later = ScriptedEngine(lambda _: "Why?", models=["later"])
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(new_home))
        await stack.enter_async_context(running_agent(new_home, [engine()]))
        await wait_for_nodes(hub, 1)
        client = Client(await stack.enter_async_context(serving(directory, dria)), key, session)
        await wait_for_line(caplog, "network_started")
        await stack.enter_async_context(running_agent(new_home, [later]))
        async with asyncio.timeout(10):
            while "later" not in next(iter((await client.alive()).values())):
                pass
        await client.post(workflow())
        assert await client.collect(1)
    assert (await wait_for_line(caplog, "network_changed")).serves[NAME] == MODEL


async def test_a_secret_that_is_none_is_not_used(directory) -> None:
    directory.mkdir()
    secret = directory / "identities.secret"
    for text, told in (("00", "is damaged"), ("xx", "cannot read"), ("é", "cannot read")):
        secret.write_text(text)
        with pytest.raises(DriaMagpieError, match=told):
            async with serving(directory, engine()):
                pass


async def test_work_that_fails_does_not_take_other_work_with_it(tmp_path) -> None:
    writer = Writer(tmp_path / FILE)
    await writer.start()
    fine = "INSERT INTO keys (name, digest, created) VALUES (?, ?, 0)"
    works = [
        writer.do(lambda connection, n=n: connection.execute(fine, (f"k{n}", f"{n}")).lastrowid)
        for n in range(600)
    ]
    wrong = writer.do(lambda connection: connection.execute("INSERT INTO nothing VALUES (1)"))
    outcomes = await asyncio.gather(*works, wrong, return_exceptions=True)
    assert outcomes[:600] == list(range(1, 601))
    assert isinstance(outcomes[600], StoreError)
    await writer.aclose()
    await writer.aclose()
    with pytest.raises(StoreError, match="is closed"):
        await writer.do(lambda _: None)


async def test_a_directory_that_cannot_be_written_is_told(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DriaMagpieError, match="cannot make"):
        create_key(tmp_path / "file", "me")
    (tmp_path / "gw" / FILE).mkdir(parents=True)
    with pytest.raises(DriaMagpieError, match="cannot open"):
        list_keys(tmp_path / "gw")


async def test_without_its_packages_the_gateway_says_what_to_install(
    monkeypatch, capsys, directory
) -> None:
    for name in ("dria_magpie.gateway", "dria_magpie.gateway.keys"):
        monkeypatch.setitem(sys.modules, name, None)
    for verb in ([], ["key", "create", "me"], ["key", "list"], ["key", "revoke", "me"]):
        assert await run(monkeypatch, *verb, "--dir", str(directory)) == 1
        assert "pip install 'dria-magpie[network]'" in capsys.readouterr().err
