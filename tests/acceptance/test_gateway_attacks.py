"""What a gateway is sent that no client would send, while clients are served."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from typing import Any

import pytest

from tests.acceptance.commands import MAGPIE, run
from tests.acceptance.gateway_field import ANSWER, Field, check_whole, make_field
from tests.acceptance.gateway_flood import Flood, flood, read_answer, write_request
from tests.acceptance.gateway_process import Program
from tests.acceptance.gateway_wire import (
    RawClient,
    make_raw_task,
    make_workflow,
    reset_while_receiving,
)

HELD = "hold me"
LIMIT = 1000


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with ExitStack() as stack:
        here = make_field(stack, tmp_path_factory.mktemp("attacks") / "field")
        here.endpoint.behave(latency=0.01, containing=HELD, hold=True)
        yield here


# --- what is refused at the door


def _envelope(payload: bytes) -> bytes:
    return json.dumps({"value": {"payload": base64.b64encode(payload).decode()}}).encode()


def _changed(**changed: Any) -> bytes:
    task = make_raw_task(make_workflow("Changed"), ("00" * 20, "peer"))
    kept = {name: value for name, value in {**task.model, **changed}.items() if value is not None}
    return _envelope(json.dumps(kept).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"null",
        b'{"value": {"payload": 7}}',
        b'{"value": {"payload": "no base64!"}}',
        _envelope(b"no JSON"),
        _envelope(b"{}"),
        _envelope(b'"' + b"\xff" * 8 + b'"'),
        _changed(taskId=None),
        _changed(taskId="a--b"),
        _changed(taskId="../../etc"),
        _changed(taskId="x" * 65),
        _changed(taskId={"a": 1}),
        _changed(publicKey="00" * 64),
        _changed(publicKey="no hex"),
        _changed(pickedNodes="all"),
        _changed(input=[]),
        _changed(input={"workflow": make_workflow("x"), "model": []}),
    ],
    ids=range(20),
)
async def test_what_is_no_task_is_refused_with_a_reason(here: Field, body: bytes) -> None:
    client = here.client_of("malformed")
    status, told = await client.send("POST", "task", body)
    assert status == 400
    assert told["error"]


async def test_ten_megabytes_are_refused(here: Field) -> None:
    request = write_request("POST", "/rpc/task", here.key("malformed"), _envelope(b"x" * 7_500_000))
    reader, writer = await asyncio.open_connection("127.0.0.1", here.gateway.port)
    writer.write(request)
    status, told = await read_answer(reader)
    writer.transport.abort()
    assert status == 413
    assert json.loads(told)["error"]


@pytest.mark.parametrize(
    ("method", "topic", "status"),
    [
        ("GET", "anything", 404),
        ("POST", "anything", 404),
        ("GET", "task", 405),
        ("POST", "results", 405),
        ("GET", "../health", 200),
        ("GET", "results/../../../etc/passwd", 404),
    ],
)
async def test_topics_that_are_not_there(here: Field, method: str, topic: str, status: int) -> None:
    answer, told = await here.client_of("malformed").send(method, topic, b"{}")
    assert answer == status
    assert status == 200 or told["error"]


@pytest.mark.parametrize("key", ["", "nobody's", "x" * 5000, "ключ"])
async def test_strangers_are_let_in_nowhere(here: Field, key: str) -> None:
    stranger = RawClient(here.gateway.url, key)
    for method, topic in (("GET", "get_alive_peers"), ("GET", "results"), ("POST", "task")):
        status, told = await stranger.send(method, topic, b"{}")
        assert status == 401
        assert told["error"]


# --- what is accepted, and answered so that the client understands


@pytest.mark.parametrize(
    "change",
    [
        lambda task: task["input"].update(workflow=make_workflow("x", operator="check")),
        lambda task: task["input"].update(workflow=make_workflow("x", operator="search")),
        lambda task: task["input"].update(workflow={}),
        lambda task: task["input"].update(workflow="no workflow"),
        lambda task: task["input"].update(workflow=None),
        lambda task: task["input"].update(model=["o1-mini"]),
    ],
    ids=["operator", "search", "empty", "text", "nothing", "unserved"],
)
async def test_a_task_that_cannot_run_is_answered_in_a_way_that_ends_the_wait(
    here: Field, change: Callable[[dict[str, Any]], None]
) -> None:
    client = here.client_of("cannot-run")
    (node, *_) = await client.find_nodes()
    task = make_raw_task(make_workflow("Cannot run"), node)
    change(task.model)
    assert await client.post(task.body) == 200
    (item,) = await client.collect(1)
    assert (item.id, item.signer, item.ciphertext) == (task.id, node[0], None)
    assert item.error
    assert item.error.startswith("Invalid prompt: ")


async def test_a_task_that_is_sent_again_runs_once(here: Field) -> None:
    client = here.client_of("again")
    (node, *_) = await client.find_nodes()
    task = make_raw_task(make_workflow("Sent again"), node)
    assert [await client.post(task.body) for _ in range(3)] == [200, 200, 200]
    for _ in range(2):
        (item,) = await client.collect(1)
        assert item.open(task) == ANSWER
        assert await client.has_nothing_more()
        # Who sends it again has not heard that it was taken, and so threw its result away.
        assert await client.post(task.body) == 200
    assert (
        sum(call.digest == _digest("Tell about Sent again") for call in here.endpoint.calls()) == 1
    )


async def test_results_of_one_key_are_for_no_other(here: Field) -> None:
    left, right = here.client_of("mine"), here.client_of("yours")
    mine = await left.hand_in(*(f"Mine {number}" for number in range(12)))
    yours = await right.hand_in(*(f"Yours {number}" for number in range(12)))
    came, other = await asyncio.gather(left.collect(12), right.collect(12))
    assert Counter(item.id for item in came) == dict.fromkeys(mine, 1)
    assert Counter(item.id for item in other) == dict.fromkeys(yours, 1)
    assert {item.open(mine[item.id]) for item in came} == {ANSWER}
    assert all(item.signer == mine[item.id].node for item in came)


async def test_a_task_of_another_ones_id_is_a_task_of_its_own(here: Field) -> None:
    left, right = here.client_of("one"), here.client_of("another")
    (node, *_) = await left.find_nodes()
    task = make_raw_task(make_workflow("Same id"), node)
    assert {await left.post(task.body), await right.post(task.body)} == {200}
    for client in (left, right):
        assert [item.id for item in await client.collect(1)] == [task.id]


async def test_results_that_were_being_sent_when_the_connection_broke_come_again(
    here: Field,
) -> None:
    client = here.client_of("reset")
    tasks = await client.hand_in(*(f"Reset {number}" for number in range(50)))
    assert await reset_while_receiving(here.gateway.url, here.key("reset")) > 0
    await asyncio.sleep(1)  # as the SDK does, before it asks again
    came = await client.collect(50)
    assert Counter(item.id for item in came) == dict.fromkeys(tasks, 1)
    assert await client.has_nothing_more()


# --- floods


async def test_a_flood_of_one_key_is_answered_with_lists_and_others_are_served(
    here: Field,
) -> None:
    victim = here.start("victim", "many", "Victim", "20")
    request = write_request("GET", "/rpc/results", here.key("flooder"))
    told = await _flood_beside(here, victim, request)
    assert told.statuses.keys() == {200}
    assert all(json.loads(body) == {"data": {"results": []}} for body in told.bodies)
    check_served(victim, "Victim")


async def test_a_flood_of_strangers_is_cheap(here: Field) -> None:
    victim = here.start("victim-of-strangers", "many", "Stranger", "20")
    request = write_request("POST", "/rpc/task", "nobody's", b"x" * 100)
    told = await _flood_beside(here, victim, request)
    assert told.statuses.keys() == {401}
    check_served(victim, "Stranger")


def check_served(victim: Program, name: str) -> None:
    seen = victim.seen()
    check_whole(seen, **{name: 20})
    print(f"twenty tasks of another key took {seen['seconds']:.1f} s")
    assert seen["seconds"] < 15


async def _flood_beside(here: Field, victim: Program, request: bytes) -> Flood:
    def goes_on() -> bool:
        return victim.process.poll() is None

    told = await flood(here.gateway.url, request, connections=400, goes_on=goes_on)
    print(f"{told.rate:.0f} requests/s, answered {dict(told.statuses)}")
    assert told.rate > 1000
    return told


async def test_beyond_a_thousand_tasks_a_key_is_told_that_its_queue_is_full(here: Field) -> None:
    client, other = here.client_of("greedy"), here.client_of("modest")
    number = LIMIT + 50
    before = len(here.endpoint.calls())
    tasks = await client.hand_in(*(f"{HELD} {place}" for place in range(number)))
    full = await client.collect(50)
    assert all((item.error or "").startswith("Invalid prompt: queue full") for item in full)
    assert {item.id for item in full} <= tasks.keys()
    assert len({item.id for item in full}) == 50
    modest = await other.hand_in("Modest")
    here.endpoint.release()
    (item,) = await other.collect(1)
    assert item.open(modest[item.id]) == ANSWER
    # It did not stand at the end of the other one's queue.
    assert _find_place(here, "Tell about Modest", before) < LIMIT / 2


def _find_place(here: Field, prompt: str, before: int) -> int:
    """Give how many calls came before the one with this prompt."""
    digest = _digest(prompt)
    return next(c.number for c in here.endpoint.calls() if c.digest == digest) - before


def _digest(prompt: str) -> str:
    """Give what the endpoint's log has instead of a prompt."""
    messages = json.dumps([{"role": "user", "content": prompt}])
    return sha256(messages.encode()).hexdigest()[:16]


# --- secrets


async def test_no_secret_is_kept_or_told(here: Field) -> None:
    client = here.client_of("secrets")
    tasks = await client.hand_in("A secret topic")
    (item,) = await client.collect(1)
    secrets = [tasks[item.id].secret.to_hex(), here.key("secrets")]
    files = [path for path in here.gateway.directory.rglob("*") if path.is_file()]
    assert files
    kept = b"".join(path.read_bytes() for path in files) + here.gateway.said.encode()
    assert [secret for secret in secrets if secret.encode() in kept] == []
    assert bytes.fromhex(secrets[0]) not in kept
    assert "A secret topic" not in here.gateway.said
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert here.gateway.directory.stat().st_mode & 0o777 == 0o700


async def test_a_revoked_key_is_cut_off_in_a_gateway_that_runs(here: Field) -> None:
    client = here.client_of("revoked")
    assert (await client.get("get_alive_peers"))[0] == 200
    directory = ["--dir", str(here.gateway.directory)]
    done = run(MAGPIE, "gateway", "key", "revoke", "revoked", *directory)
    assert done.returncode == 0, done.stderr
    async with asyncio.timeout(2):
        status = 200
        while status == 200:  # a gateway may know it for another second
            status, _ = await client.get("get_alive_peers")
    assert status == 401
    assert (await client.get("results"))[0] == 401
    listed = run(MAGPIE, "gateway", "key", "list", *directory)
    assert "secrets" in listed.stdout
    assert here.key("secrets") not in listed.stdout + listed.stderr
