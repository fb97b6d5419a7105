"""What members with valid credentials cannot do to a network, its other nodes and its tenants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from dria_magpie.errors import DriaMagpieError
from dria_magpie.models import Turn
from dria_magpie.network.assignment import Assignment
from dria_magpie.network.credentials import MAX_PAYLOAD
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.order import MOST_BYTES, Order, write_turn
from dria_magpie.network.record import Record
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.server.process import start_server
from dria_magpie.network.server.revocation import publish
from dria_magpie.network.signing import NodeKey
from tests.acceptance.commands import MAGPIE, PERSONAS, ROOT, run
from tests.acceptance.network_field import (
    FAKE,
    HONEST,
    MODEL,
    Attacker,
    Field,
    Member,
    asking,
    make_field,
    make_task,
    run_batch,
    wait_until,
    write_task,
)
from tests.ports import find_ports

# Of nats-py and aiohttp
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout'")
SHARED = pytest.mark.asyncio(loop_scope="module")
MARKER = "a-marker-that-nobody-else-writes"


@pytest.fixture(autouse=True, scope="module")
def quick_beats() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIA_STORE_KEY", "of-attacks-" * 4)
        patch.setattr("dria_magpie.network.agent.BEAT", 0.2)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Field]:
    """A network with an honest node, for one attack after the other."""
    folder = tmp_path_factory.mktemp("shared")
    async with make_field(folder, lease=1.2, stalled_after=1.5) as field:
        await field.add_node(slots=8)
        yield field


@pytest_asyncio.fixture(loop_scope="module")
async def bad(shared: Field) -> AsyncIterator[Attacker]:
    """A node of the shared network that its owner uses to do harm."""
    attacker = await shared.add_attacker()
    yield attacker
    await shared.dismiss(attacker)


@pytest_asyncio.fixture(loop_scope="module")
async def client(shared: Field) -> AsyncIterator[Member]:
    """A client of the shared network who speaks to it by hand, with a queue, "r"."""
    client = await shared.add_client()
    async with asking(client) as ask:
        await ask("lane", route="r", models=[MODEL], named=[], open=True)
        yield client
        with contextlib.suppress(Exception):  # it may have been cut off
            await ask("close", seconds=2, run="x")
    await shared.dismiss(client)


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    async with make_field(tmp_path, lease=1.2, stalled_after=1.5) as field:
        yield field


async def expect_honest(field: Field, results: list[Any]) -> None:
    honest = {agent._node.address for agent in field.agents}
    for result in results:
        assert result.error is None, result.error
        assert result.node in honest
        assert all(turn.text.startswith(HONEST) for turn in result.turns)


# ------------------------------------------------------------------ what the broker lets through


async def test_a_node_neither_hears_of_nor_reaches_what_is_not_its_own(field: Field) -> None:
    other, bad = await field.add_node(latency=0.2), await field.add_attacker()
    batch = asyncio.create_task(run_batch(field.join(), 4))
    victim = other._node.address
    for subject in (
        f"work.{victim}", "work.*", "work.>", "task.>", "told.>", "result.>", "hub.>", "note.>",
        "inbox", "inbox.>", "alive.*", f"node.{victim}.*", f"_INBOX.{victim}.>", "_INBOX.>",
        "$JS.>", "$JS.EVENT.>", "$JS.API.>", "$SYS.>", "owner.status", ">", "*.>",
        f"work.{victim} group",
    ):  # fmt: skip
        assert await bad.is_refused(bad.nats.subscribe(subject)), subject
    for subject in (
        f"work.{victim}", f"node.{victim}.done", f"node.{victim}.state", f"alive.{victim}",
        f"node.{bad.token}.done.more", "task.me.r.x.1", "ask.me.hello", "told.me.x.1",
        "result.me.x.1", "hub.run.1", f"hub.node.{bad.token}", "note.1", "inbox", "owner.status",
        f"_INBOX.{victim}.1", f"_INBOX.{bad.token}.1",
        "$JS.API.INFO", "$JS.API.STREAM.INFO.TASKS", "$JS.API.STREAM.PURGE.TASKS",
        "$JS.API.STREAM.DELETE.TASKS", "$JS.API.STREAM.MSG.GET.TASKS",
        "$JS.API.STREAM.MSG.DELETE.TASKS", "$JS.API.DIRECT.GET.TASKS",
        "$JS.API.CONSUMER.CREATE.TASKS.x", "$JS.API.CONSUMER.DURABLE.CREATE.NODES.x",
        "$JS.API.CONSUMER.MSG.NEXT.TASKS.me=r", "$JS.API.CONSUMER.DELETE.NODES.hub",
        "$JS.ACK.NODES.hub.1.1.1.1.0", "$SYS.REQ.CLAIMS.UPDATE",
    ):  # fmt: skip
        assert await bad.is_refused(bad.nats.publish(subject, b"{}")), subject
    await expect_honest(field, await batch)
    assert bad.orders.empty()


async def test_a_client_neither_hears_of_nor_reaches_what_is_not_its_own(field: Field) -> None:
    node = await field.add_node()
    bad, other = await field.add_client(), await field.add_client()
    for subject in (
        f"told.{other.token}.>", "told.>", f"task.{other.token}.>", "task.>", "result.>", "hub.>",
        f"_INBOX.{other.token}.>", f"work.{node._node.address}", "inbox", "$JS.API.>", ">",
    ):  # fmt: skip
        assert await bad.is_refused(bad.nats.subscribe(subject)), subject
    for subject in (
        f"task.{other.token}.r.x.1", f"ask.{other.token}.results", f"told.{other.token}.x.1",
        f"told.{bad.token}.x.1", f"result.{bad.token}.x.1", f"work.{node._node.address}",
        f"node.{bad.token}.done", f"alive.{bad.token}", f"_INBOX.{other.token}.1", "inbox",
        "$JS.API.STREAM.PURGE.RESULTS", "$JS.API.DIRECT.GET.RESULTS", "$JS.ACK.DESK.hub.1.1.1.1.0",
    ):  # fmt: skip
        assert await bad.is_refused(bad.nats.publish(subject, b"{}")), subject


@SHARED
async def test_the_broker_answers_nobody_on_a_subject_that_a_member_names(
    shared: Field, bad: Attacker, client: Member
) -> None:
    """It would answer whoever hands a message in, wherever the reply is to go."""
    owner = await shared.add_owner()
    victim, heard = shared.agents[0]._node.address, await owner.listen(">")
    aims = (
        f"alive.{victim}", f"node.{victim}.done", f"work.{victim}", "task.other.r.x.1",
        "result.other.x.1", "told.other.x.1", "hub.run.1", f"hub.node.{bad.token}", "inbox",
        "owner.status", "$JS.API.STREAM.PURGE.TASKS", "$JS.API.STREAM.MSG.DELETE.TASKS",
        "_INBOX.other.desk.x.1",
    )  # fmt: skip
    sources = (
        (bad, f"node.{bad.token}.done"), (bad, f"node.{bad.token}.state"),
        (bad, f"node.{bad.token}.else"), (bad, f"alive.{bad.token}"),
        (client, f"task.{client.token}.r.x.1"), (client, f"task.{client.token}.odd"),
        (client, f"ask.{client.token}.hello"), (client, f"ask.{client.token}.else"),
    )  # fmt: skip
    stored = [b"x", b"y"]  # the second is one too many where a subject takes one
    for member, subject in sources:
        for aim in aims:
            for payload in stored:
                await member.nats.publish(subject, payload, reply=aim)
        await member.nats.flush()
    await run_batch(shared.join(), 2)  # by then everything has come
    came = [heard.get_nowait() for _ in range(heard.qsize())]
    answers = [m for m in came if m.subject in aims and b'"stream"' in m.data]
    assert not answers, answers
    assert shared.reputation(victim).invalid == 0
    assert victim not in shared.barred


@SHARED
@pytest.mark.parametrize("headers", [
    b"NATS/1.0 \xff\xfe\xfd\r\n\r\n", b"NATS/1.0\r\nStatus: abc\r\n\r\n",
    b"NATS/1.0\r\nStatus: 408\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"NATS/1.0", b"\xff" * 40,
    b"NATS/1.0\r\nNats-Rollup: all\r\n\r\n", b"NATS/1.0\r\nNats-Expected-Stream: X\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: 1\r\nNats-Schedule: @every 1s\r\n\r\n",
    b"NATS/1.0\r\nNats-Trace-Dest: work.x\r\n\r\n", b"NATS/1.0\r\nDria-Mark: x\r\n\r\n",
])  # fmt: skip
async def test_headers_that_a_member_makes_up_stop_nobody(
    shared: Field, bad: Attacker, client: Member, headers: bytes
) -> None:
    for member, subject in (
        (bad, f"node.{bad.token}.done"), (bad, f"node.{bad.token}.state"),
        (bad, f"alive.{bad.token}"), (client, f"task.{client.token}.r.x.1"),
        (client, f"ask.{client.token}.hello"),
    ):  # fmt: skip
        for _ in range(70):
            line = f"HPUB {subject} {len(headers)} {len(headers) + 1}\r\n".encode()
            await member.nats._send_command(line + headers + b"x\r\n")
        with contextlib.suppress(Exception):  # it may be cut off for it
            await member.nats.flush(2)
    await expect_honest(shared, await run_batch(shared.join(), 4))


# ------------------------------------------------------------------------------- planted records


def _sealed(bad: Attacker, given: Assignment, **changes: Any) -> Record:
    order, record = bad.make(given, **changes)
    return record.sealed(order, bad.key, given.nonce, "done")


def _by_another_key(bad: Attacker, given: Assignment) -> bytes:
    order, record = bad.make(given)
    return record.sealed(order, NodeKey.generate(), given.nonce, "done").to_bytes()


def _signed_by_another(bad: Attacker, given: Assignment) -> bytes:
    order, record = bad.make(given)
    stranger = record.sealed(order, NodeKey.generate(), given.nonce, "done")
    seals = (replace(stranger.last, node=bad.token),)
    return replace(stranger, seals=seals).to_bytes()


def _with_signature(signature: str) -> Callable[[Attacker, Assignment], bytes]:
    def make(bad: Attacker, given: Assignment) -> bytes:
        record = _sealed(bad, given)
        return replace(record, seals=(replace(record.last, signature=signature),)).to_bytes()

    return make


def _another_kind(bad: Attacker, given: Assignment) -> bytes:
    order, record = bad.make(given)
    state = record.sealed(order, bad.key, given.nonce, "state")
    return replace(state, seals=(replace(state.last, kind="done"),)).to_bytes()


def _altered_after_sealing(bad: Attacker, given: Assignment) -> bytes:
    record = _sealed(bad, given)
    turns = (record.turns[0].replace(FAKE, "something else"), *record.turns[1:])
    return replace(record, turns=turns).to_bytes()


def _appended_after_sealing(bad: Attacker, given: Assignment) -> bytes:
    record = _sealed(bad, given)
    return replace(record, turns=(*record.turns, record.turns[-1])).to_bytes()


def _changed_turns(change: Callable[[list[Turn]], list[Turn]]) -> Callable[..., bytes]:
    def make(bad: Attacker, given: Assignment) -> bytes:
        order, record = bad.make(given)
        turns = change([Turn.from_dict(json.loads(line)) for line in record.turns])
        record = replace(record, turns=tuple(map(write_turn, turns)))
        return record.sealed(order, bad.key, given.nonce, "done").to_bytes()

    return make


def _changed_lines(change: Callable[[dict[str, Any]], Any]) -> Callable[..., bytes]:
    def make(bad: Attacker, given: Assignment) -> bytes:
        order, record = bad.make(given)
        lines = []
        for line in record.turns:
            value = json.loads(line)
            changed = change(value)
            lines.append(json.dumps(value if changed is None else changed))
        record = replace(record, turns=tuple(lines))
        return record.sealed(order, bad.key, given.nonce, "done").to_bytes()

    return make


def _of_another_task(bad: Attacker, given: Assignment) -> bytes:
    """Give a good run of another task, under this one's nonce."""
    other = Order.read(write_task())
    _, record = bad.make(given)
    return record.sealed(other, bad.key, given.nonce, "done").to_bytes()


def _head(**said: Any) -> Callable[..., bytes]:
    def make(bad: Attacker, given: Assignment) -> bytes:
        head, *turns = _sealed(bad, given).to_bytes().decode().split("\n")
        return "\n".join([json.dumps({**json.loads(head), **said}), *turns]).encode()

    return make


def _another_node(turn: Turn) -> Turn:
    return replace(turn, node="0" * 40)


LIES: dict[str, Callable[[Attacker, Assignment], bytes]] = {
    "sealed by another key": _by_another_key,
    "signed by another key in its own name": _signed_by_another,
    "an empty signature": _with_signature(""),
    "no hexadecimal signature": _with_signature("x" * 130),
    "a signature of noughts": _with_signature("0" * 130),
    "another kind than was sealed": _another_kind,
    "altered after it was sealed": _altered_after_sealing,
    "appended to after it was sealed": _appended_after_sealing,
    "sealed for another task": _of_another_task,
    "a turn in another node's name": _changed_turns(lambda t: [_another_node(t[0]), *t[1:]]),
    "every turn in another node's name": _changed_turns(lambda t: list(map(_another_node, t))),
    "a turn too few": _changed_turns(lambda t: t[:-1]),
    "a turn too many": _changed_turns(lambda t: [*t, t[-1]]),
    "no turns": _changed_turns(lambda t: []),
    "turns in another order": _changed_turns(lambda t: t[::-1]),
    "a turn of a task that there is not": _changed_turns(
        lambda t: [replace(t[0], task_id="none"), *t[1:]]
    ),
    "a turn of another task": _changed_turns(
        lambda t: [replace(t[0], task_id=t[-1].task_id), *t[1:]]
    ),
    "another model": _changed_turns(lambda t: [replace(turn, model="cheap") for turn in t]),
    "no model": _changed_turns(lambda t: [replace(turn, model="") for turn in t]),
    "an empty text": _changed_turns(lambda t: [replace(turn, text="") for turn in t]),
    "a blank text": _changed_turns(lambda t: [replace(turn, text=" \n") for turn in t]),
    "time that it did not have": _changed_turns(
        lambda t: [replace(turn, seconds=10_000.0) for turn in t]
    ),
    "an unknown field": _changed_lines(lambda v: v.update(memory={"x": 1})),
    "a number as a text": _changed_lines(lambda v: v.update(text=7)),
    "a huge number": _changed_lines(lambda v: v.update(prompt_tokens=10**400)),
    "not a number": _changed_lines(lambda v: v.update(seconds=float("nan"))),
    "negative seconds": _changed_lines(lambda v: v.update(seconds=-1e9)),
    "a turn that is a list": _changed_lines(lambda v: [v]),
    "no error but a number": _head(error=[1, 2]),
    "an error of 100 kB": _head(error=["EngineError", "x" * 100_000]),
}


@SHARED
@pytest.mark.parametrize("lie", LIES)
async def test_what_does_not_follow_is_not_accepted(shared: Field, bad: Attacker, lie: str) -> None:
    bad.keep_beating()
    await shared.wait_for_node(bad.token)

    async def hand_in(given: Assignment) -> None:
        await bad.hand_in(LIES[lie](bad, given))

    bad.answer(hand_in)
    results = await run_batch(shared.join(), 2, turns=2)
    await expect_honest(shared, results)
    assert bad.taken
    assert shared.reputation(bad.token).invalid
    assert shared.reputation(bad.token).score < 0.5


@SHARED
@pytest.mark.parametrize("seals", [
    [], [["a"]], [[1, 2, 3, 4, 5]], [["a", "b", -1, "done", "c"]], [["a", "b", 1.5, "done", "c"]],
    [["a", "b", 1, [], "c"]], [["a", "b", 1, "nothing", "c"]], "done", None, {"a": 1}, [None],
    [["a", "b", 10**30, "done", "c"]],
])  # fmt: skip
async def test_seals_that_are_none_are_a_lie_and_nothing_more(
    shared: Field, bad: Attacker, seals: Any
) -> None:
    for _ in range(2):
        await bad.hand_in(json.dumps({"seals": seals, "error": None}).encode())
        await bad.hand_in(b"[" * 100_000)
    await expect_honest(shared, await run_batch(shared.join(), 2))
    await wait_until(lambda: shared.reputation(bad.token).invalid >= 2)


async def test_a_node_cannot_answer_for_another(field: Field) -> None:
    agent, bad = await field.add_node(latency=0.3), await field.add_attacker()
    batch = asyncio.create_task(run_batch(field.join(), 4))
    await wait_until(lambda: agent._work)
    for nonce in list(agent._work):
        job = field.hub._board._running[nonce]
        given = Assignment(nonce=nonce, model=MODEL, order=job.payload, record=Record().to_bytes())
        await bad.hand_in(bad.seal(given))
        await bad.hand_in(bad.seal(given, "state"), "state")
        await bad.beat(running=[nonce])  # nor have it called back
    await expect_honest(field, await batch)
    assert field.reputation(bad.token).invalid >= 1
    assert field.reputation(agent._node.address).score > 0.5


async def test_a_node_cannot_answer_for_a_task_that_it_lost(field: Field) -> None:
    bad = await field.add_attacker()
    await bad.beat(slots=1)
    await field.wait_for_node(bad.token)
    batch = asyncio.create_task(run_batch(field.join(), 1))
    given = await bad.next_order()
    agent = await field.add_node(latency=0.5)
    # It keeps silent until the task is another's.
    await wait_until(lambda: agent._work)
    await bad.hand_in(bad.seal(given))
    await bad.hand_in(bad.seal(given, "state"), "state")
    await expect_honest(field, await batch)
    assert field.reputation(bad.token).timed_out == 1


async def test_a_node_cannot_hand_in_an_old_record_for_another_task(field: Field) -> None:
    await field.add_node()
    bad = await field.add_attacker()
    bad.keep_beating(slots=8)
    await field.wait_for_node(bad.token)
    first: list[Record] = []

    async def repeat(given: Assignment) -> None:
        if not first:
            first.append(_sealed(bad, given))
            await bad.hand_in(first[0].to_bytes())
            return
        old = first[0]
        renamed = replace(old.last, nonce=given.nonce)
        await bad.hand_in(old.to_bytes())
        await bad.hand_in(replace(old, seals=(renamed,)).to_bytes())

    bad.answer(repeat)
    results = await run_batch(field.join(), 4)
    fakes = [result for result in results if result.node == bad.token]
    assert len(fakes) == 1  # the one that it did make
    await expect_honest(field, [result for result in results if result is not fakes[0]])
    assert field.reputation(bad.token).invalid >= 1


def _tamper(kind: str, bad: Attacker, given: Assignment) -> Record:
    before = Record.read(given.record)
    order, record = bad.make(given)
    if kind == "altered":
        turns = (before.turns[0].replace(HONEST, FAKE), *record.turns[1:])
    elif kind == "taken away":
        turns = record.turns[1:]
    elif kind == "put in between":
        turns = (*before.turns, before.turns[-1], *record.turns[len(before.turns) :])
    elif kind == "unsealed":
        return replace(record, seals=()).sealed(order, bad.key, given.nonce, "done")
    elif kind == "resealed":
        own = replace(record, seals=()).sealed(order, bad.key, given.nonce, "state")
        return own.sealed(order, bad.key, given.nonce, "done")
    else:
        stranger = NodeKey.generate()
        extra = record.sealed(order, stranger, "0" * 16, "state")
        return extra.sealed(order, bad.key, given.nonce, "done")
    return replace(record, turns=turns).sealed(order, bad.key, given.nonce, "done")


@pytest.mark.parametrize(
    "kind", ["altered", "taken away", "put in between", "unsealed", "resealed", "with a stranger"]
)
async def test_turns_of_earlier_nodes_stay_as_they_are(field: Field, kind: str) -> None:
    """An honest node hands a half-made dialogue back; the next one is not honest."""
    leaving = await field.add_node(slots=1, latency=0.3)
    batch = asyncio.create_task(run_batch(field.join(), 1, turns=2))
    await wait_until(lambda: leaving._work)
    bad = await field.add_attacker()
    bad.keep_beating(slots=1)
    await field.wait_for_node(bad.token)
    await asyncio.sleep(0.5)  # a turn and a half
    leaving.drain()
    given = await bad.next_order()
    assert Record.read(given.record).turns
    await field.add_node()
    await bad.hand_in(_tamper(kind, bad, given).to_bytes())
    await expect_honest(field, await batch)
    assert field.reputation(bad.token).invalid == 1


async def test_a_result_that_is_too_large_is_a_lie_and_ends_nothing(field: Field) -> None:
    await field.add_node()
    bad = await field.add_attacker()
    bad.keep_beating()
    await field.wait_for_node(bad.token)

    async def hand_in(given: Assignment) -> None:
        payload = bad.seal(given, text="x" * 135_000)
        assert MOST_BYTES < len(payload) < MAX_PAYLOAD
        await bad.hand_in(payload)

    bad.answer(hand_in)
    await expect_honest(field, await run_batch(field.join(), 2, turns=2))
    assert field.reputation(bad.token).invalid


async def test_a_message_beyond_what_the_broker_takes_cuts_off_its_sender_only(
    field: Field,
) -> None:
    await field.add_node()
    bad = await field.add_attacker()
    payload = b"x" * 2_000_000
    line = f"PUB node.{bad.token}.done {len(payload)}\r\n".encode()
    with contextlib.suppress(Exception):
        await bad.nats._send_command(line + payload + b"\r\n")
        await bad.nats.flush(2)
    await expect_honest(field, await run_batch(field.join(), 2))
    await wait_until(lambda: bad.nats.is_closed)


async def test_the_largest_task_with_the_largest_result_comes_back(field: Field) -> None:
    """Neither a hostile client nor a hostile node may make what the broker cannot carry."""
    text = "y" * 240_000
    await field.add_node(text=text)
    graph = json.loads(make_task().workflow.model_dump_json())
    graph["external_memory"]["padding"] = "x" * (MOST_BYTES - 20_000)
    task = replace(make_task(), workflow=graph)
    from dria_magpie import Dria

    async with asyncio.timeout(20), Dria(field.join()) as dria:
        result = await dria.execute(task)
        assert result.error is None
        assert result.turns[0].text == text
    await expect_ok(field)


async def expect_ok(field: Field) -> None:
    """The network still does what it is for."""
    results = await run_batch(field.join(), 3)
    assert [result.error for result in results] == [None] * 3


# ------------------------------------------------------------------------------ sitting on tasks


async def _keep(bad: Attacker, given: Assignment) -> None:
    """Do nothing."""


async def _say_again(bad: Attacker, given: Assignment) -> None:
    """Hand in the same state, freshly signed, for ever."""
    while given.nonce in bad.running:
        await bad.hand_in(bad.seal(given, "state", most=1), "state")
        await asyncio.sleep(0.1)


async def _say_again_in_background(bad: Attacker, given: Assignment) -> None:
    asyncio.create_task(_say_again(bad, given))  # noqa: RUF006 - it ends with the assignment


async def _fail(bad: Attacker, given: Assignment) -> None:
    order, record = bad.make(given, most=0)
    record = replace(record, error=("EngineError", "out of memory"))
    await bad.hand_in(record.sealed(order, bad.key, given.nonce, "done").to_bytes())


async def _fail_as_the_workflow(bad: Attacker, given: Assignment) -> None:
    order, record = bad.make(given, most=0)
    record = replace(record, error=("LimitError", "max_steps reached"))
    await bad.hand_in(record.sealed(order, bad.key, given.nonce, "done").to_bytes())


async def _use_up_the_time(bad: Attacker, given: Assignment) -> None:
    payload = bad.seal(given, "state", most=1, seconds=100_000.0)
    await bad.hand_in(payload, "state")


async def _use_up_the_time_and_fail(bad: Attacker, given: Assignment) -> None:
    order, record = bad.make(given, most=1, seconds=100_000.0)
    record = replace(record, error=("LimitError", "max_time reached"))
    await bad.hand_in(record.sealed(order, bad.key, given.nonce, "done").to_bytes())


async def _hand_back(bad: Attacker, given: Assignment) -> None:
    await bad.hand_in(bad.seal(given, "handed back", most=0))


async def _claim_without_work(bad: Attacker, given: Assignment) -> None:
    bad.running.pop(given.nonce, None)


SITTING: dict[str, tuple[Callable[..., Any], str]] = {
    "takes and keeps": (_keep, "timed_out"),
    "takes, and says nothing of it": (_claim_without_work, "timed_out"),
    "says the same again and again": (_say_again_in_background, "timed_out"),
    "fails everything": (_fail, "rejected"),
    "fails everything as the workflow would": (_fail_as_the_workflow, "rejected"),
    "hands everything back": (_hand_back, "rejected"),
    "uses up the time": (_use_up_the_time, "invalid"),
    "uses up the time and fails": (_use_up_the_time_and_fail, "invalid"),
}


@pytest.mark.parametrize("how", SITTING)
async def test_a_node_that_sits_on_tasks_condemns_none(field: Field, how: str) -> None:
    await field.add_node(slots=4)
    bad = await field.add_attacker()
    bad.keep_beating(slots=10_000)
    await field.wait_for_node(bad.token)
    harm, outcome = SITTING[how]

    async def do_harm(given: Assignment) -> None:
        await harm(bad, given)

    bad.answer(do_harm)
    results = await run_batch(field.join(), 12)
    assert [result.error for result in results] == [None] * 12
    # What it did make, and signed, may stay.
    assert {result.node for result in results} == {field.agents[0]._node.address}
    record = field.reputation(bad.token)
    assert getattr(record, outcome) >= 1
    assert record.score < 0.5
    honest = field.reputation(field.agents[0]._node.address)
    assert honest.score > 0.5
    assert honest.invalid == honest.timed_out == 0


async def test_a_node_that_dies_with_all_tasks_condemns_none(field: Field) -> None:
    bad = await field.add_attacker()
    await bad.beat()
    await field.wait_for_node(bad.token)
    batch = asyncio.create_task(run_batch(field.join(), 12))
    given = [await bad.next_order() for _ in range(12)]
    await bad.beat(running=[assignment.nonce for assignment in given])
    await bad.nats.close()
    await field.add_node()
    await expect_honest(field, await batch)
    assert field.reputation(bad.token).timed_out == 12


async def test_who_sits_on_tasks_is_paused_and_gets_less(field: Field) -> None:
    await field.add_node()
    bad = await field.add_attacker()
    bad.keep_beating(slots=8, holding=False)
    await field.wait_for_node(bad.token)
    bad.answer(lambda given: _keep(bad, given))
    await expect_honest(field, await run_batch(field.join(), 16))
    assert field.reputation(bad.token).paused(time.time())
    before = bad.taken
    await expect_honest(field, await run_batch(field.join(), 16))
    assert bad.taken == before
    told = {node["address"]: node["idle"] for node in (await field.hub.status())["nodes"]}
    assert told[bad.token].startswith("paused for ")


async def test_a_node_that_says_it_has_ten_thousand_slots_does_not_get_all(field: Field) -> None:
    bad = await field.add_attacker()
    bad.keep_beating(slots=10_000)
    await field.wait_for_node(bad.token)
    client = await field.add_client()
    async with asking(client) as ask:
        await ask("lane", route="r", models=[MODEL], named=[], open=True)
    for number in range(300):
        await client.nats.publish(f"task.{client.token}.r.x.{number}", write_task())
    await wait_until(lambda: bad.taken >= 128)
    await asyncio.sleep(0.2)
    assert bad.taken == 128


async def test_a_node_cannot_spoil_a_task_for_those_after_it(field: Field) -> None:
    """What it hands back can only fail: the next one begins anew, and is not blamed for it."""
    bad = await field.add_attacker()
    bad.keep_beating(slots=1)
    await field.wait_for_node(bad.token)
    client = await field.add_client()
    came = await client.listen(f"told.{client.token}.>")
    async with asking(client) as ask:
        await ask("lane", route="r", models=[MODEL], named=[], open=True)
    graph = json.loads(make_task(turns=2).workflow.model_dump_json())
    for task in graph["tasks"]:
        task["schema"] = {"type": "object"}
    await client.nats.publish(f"task.{client.token}.r.x.1", write_task(graph))
    given = await bad.next_order()
    agent = await field.add_node(text='{"honest": true}')
    await bad.hand_in(bad.seal(given, "handed back", most=1, text="no JSON"))
    async with asyncio.timeout(20):
        told = await came.get()
    assert '{\\"honest\\": true}' in told.data.decode()
    assert b"no JSON" not in told.data
    assert field.reputation(agent._node.address).completed == 1


async def test_who_makes_a_task_fail_by_what_it_says_does_not_end_it(field: Field) -> None:
    bad = await field.add_attacker()
    bad.keep_beating(slots=1)
    await field.wait_for_node(bad.token)
    client = await field.add_client()
    came = await client.listen(f"told.{client.token}.>")
    async with asking(client) as ask:
        await ask("lane", route="r", models=[MODEL], named=[], open=True)
    graph = json.loads(make_task(turns=2).workflow.model_dump_json())
    for task in graph["tasks"]:
        task["schema"] = {"type": "object"}
    await client.nats.publish(f"task.{client.token}.r.x.1", write_task(graph))
    given = await bad.next_order()
    await field.add_node(text='{"honest": true}')
    order, record = bad.make(given, most=1, text="no JSON")
    record = replace(record, error=("StepError", "no JSON"))
    await bad.hand_in(record.sealed(order, bad.key, given.nonce, "done").to_bytes())
    async with asyncio.timeout(20):
        told = await came.get()
    assert b"no JSON" not in told.data.partition(b"\n")[2]
    assert '{\\"honest\\": true}' in told.data.decode()
    assert field.reputation(bad.token).rejected == 1


async def test_a_liar_is_barred_and_cut_off(tmp_path: Path) -> None:
    async with make_field(tmp_path) as field:
        cut_off: list[asyncio.Task[Any]] = []

        def bar(address: str) -> None:
            [member] = [m for m in field.home.members() if m.token == address]
            field.home.revoke(member.name)
            cut_off.append(asyncio.create_task(publish(field.home)))

        field.hub._registry._bar = bar
        await field.add_node()
        bad = await field.add_attacker()
        bad.keep_beating(slots=1)
        await field.wait_for_node(bad.token)
        for number in range(20):
            with contextlib.suppress(Exception):
                await bad.nats.publish(f"node.{bad.token}.done", b"a lie %d" % number)
        await wait_until(lambda: cut_off)
        assert (await cut_off[0]).effective
        await wait_until(lambda: bad.nats.is_closed)
        with pytest.raises(DriaMagpieError, match=r"revoked|refused"):
            await connect_once(field.url, bad.credentials)
        assert len(cut_off) == 1
        await expect_honest(field, await run_batch(field.join(), 4))


# -------------------------------------------------------------------------------- hostile clients


def _graph(**changes: Any) -> dict[str, Any]:
    graph = json.loads(make_task().workflow.model_dump_json())
    return {**graph, **changes}


def _loop_without_a_model() -> dict[str, Any]:
    return {
        "config": {"max_steps": 10**9, "max_time": 10**9},
        "tasks": [{"id": "a", "operator": "end"}],
        "steps": [{"source": "a", "target": "a"}],
        "return_value": {"input": {"type": "read", "key": "x"}},
    }


def _ladder() -> dict[str, Any]:
    generation = {"operator": "generation", "messages": [{"role": "user", "content": "hi"}]}
    return {
        "config": {"max_steps": 10**9, "max_time": 10**9},
        "external_memory": {"x": "y" * 200_000},
        "tasks": [{"id": f"t{n}", **generation} for n in range(400)],
        "steps": [
            {"source": f"t{n}", "target": f"t{n + 1}", "fallback": f"t{(n * 7 + 1) % 400}"}
            for n in range(400)
        ],
        "return_value": {"input": {"type": "read", "key": "x"}},
    }


_HEAD = b'{"models": [], "seed": 1, "again": false}'
HOSTILE_TASKS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "bytes": lambda: b"\xff\x00" * 1000,
    "no graph": lambda: write_task([]),
    "an empty graph": lambda: write_task({}),
    "deep JSON": lambda: b"\n".join([b"[" * 200_000] * 2 + [b"{}"]),
    "a deep graph": lambda: b"\n".join([_HEAD, b'{"a":' * 90_000 + b"1" + b"}" * 90_000, b"{}"]),
    "no filling": lambda: write_task().rpartition(b"\n")[0],
    "a filling that is none": lambda: write_task().rpartition(b"\n")[0] + b"\n[]",
    "a deep filling": lambda: write_task().rpartition(b"\n")[0] + b"\n" + b'{"a":' * 100_000,
    "a filling for other tasks": lambda: write_task().replace(b'"tasks": [{}', b'"tasks": [{}, {}'),
    "a huge number as the seed": lambda: write_task().replace(
        b'"seed": 1', b'"seed": 1' + b"0" * 9000
    ),
    "a seed below nought": lambda: write_task(seed=-1),
    "a seed beyond all": lambda: write_task(seed=2**70),
    "models that are numbers": lambda: write_task(models=[1, 2]),
    "models that are a text": lambda: write_task(models="abc"),
    "models that nobody serves": lambda: write_task(models=[f"x{n}" for n in range(10_000)]),
    "half a megabyte of tasks": lambda: write_task(
        _graph(tasks=[{"id": f"t{n}", "operator": "end"} for n in range(12_000)])
    ),
    "half a megabyte of faults": lambda: write_task(_graph(tasks=[{"inputs": [{}] * 10}] * 9000)),
    "turns that are none": lambda: write_task() + b"\n{}\n[]",
    "turns of another graph": lambda: (
        write_task() + b"\n" + write_turn(Turn(task_id="none", text="x", model="m")).encode()
    ),
    "a loop without a model": lambda: write_task(_loop_without_a_model()),
    "a ladder of fallbacks": lambda: write_task(_ladder()),
}


def _served_by_name(graph: dict[str, Any]) -> dict[str, Any]:
    """Have a graph ask for a model of a name, so that only a certain node gets it."""
    named = {"id": "g", "operator": "generation", "model": "dear", "prompt": "hi"}
    return {**graph, "tasks": [*graph["tasks"], named]}


DEAR: dict[str, Callable[[], Any]] = {
    "a loop without a model": lambda: _served_by_name(_loop_without_a_model()),
    "a ladder of fallbacks": lambda: _served_by_name(_ladder()),
}


@pytest.mark.parametrize("what", DEAR)
async def test_a_result_that_takes_long_to_check_stops_nobody_else(
    tmp_path: Path, what: str
) -> None:
    """A client and a node that belong together keep the hub busy with each other."""
    async with make_field(tmp_path) as field:
        await field.add_node()
        bad, client = await field.add_attacker(), await field.add_client()
        bad.keep_beating(model="dear")
        await field.wait_for_node(bad.token)
        async with asking(client) as ask:
            await ask("lane", route="r", models=["dear"], named=["dear"], open=True)
        for number in range(20):
            task = write_task(DEAR[what](), models=["dear"])
            await client.nats.publish(f"task.{client.token}.r.x.{number}", task)

        async def hand_in(given: Assignment) -> None:
            order = Order.read(given.order)
            turn = Turn(task_id="a", text="x", model="dear", node=bad.token)
            turns = [write_turn(replace(turn, task_id=f"t{n}")) for n in range(0, 400, 7)]
            record = Record(turns=tuple(turns))
            sealed = record.sealed(order, bad.key, given.nonce, "done")
            await bad.hand_in(sealed.to_bytes())

        bad.answer(hand_in)
        await wait_until(lambda: bad.taken)
        await expect_honest(field, await run_batch(field.join(), 20, seconds=25))


@SHARED
@pytest.mark.parametrize("what", HOSTILE_TASKS)
async def test_a_hostile_task_stops_nobody_else(shared: Field, client: Member, what: str) -> None:
    agent = shared.agents[0]
    async with asking(client) as ask:
        payload = HOSTILE_TASKS[what]()
        assert len(payload) <= MAX_PAYLOAD
        for number in range(6):
            await client.nats.publish(f"task.{client.token}.r.x.{number}", payload)
        await expect_honest(shared, await run_batch(shared.join(), 8))
        await ask("hello")
    record = shared.reputation(agent._node.address)
    assert record.timed_out == record.invalid == 0
    assert record.score > 0.5


@SHARED
@pytest.mark.parametrize("subject", [
    "r.x", "r.x.1.2", "r", "r.*.1", "r.x.>", "*.x.1", ">.x.1", "r.x.", "r..1", "r.x.é", "r.x.a/b",
    "r.x." + "n" * 3000,
])  # fmt: skip
async def test_a_task_with_an_odd_name_harms_nobody(
    shared: Field, client: Member, subject: str
) -> None:
    async with asking(client) as ask:
        await client.nats.publish(f"task.{client.token}.{subject}", write_task())
        await client.nats.publish(f"task.{client.token}.r.x.good", write_task())
        with contextlib.suppress(Exception):  # the broker may cut it off
            came = await client.listen(f"told.{client.token}.x.good")
            async with asyncio.timeout(5):
                if not client.nats.is_closed:
                    while came.empty():
                        await ask("results", run="x", ids=["good"], routes={"good": "r"})
    await expect_honest(shared, await run_batch(shared.join(), 4))


@SHARED
async def test_the_hub_speaks_only_to_the_inbox_of_who_asks(shared: Field, client: Member) -> None:
    node, bad = shared.agents[0], client
    other, owner = await shared.add_client(), await shared.add_owner()
    heard = await owner.listen(">")
    aims = [
        f"work.{node._node.address}", f"_INBOX.{other.token}.x", "_INBOX.>",
        f"_INBOX.{bad.token}.>",
        f"_INBOX.{bad.token}.*", f"_INBOX.{bad.token}.x y", f"_INBOX.{bad.token}.x\r\nPUB a 0\r\n",
        f"_INBOX.{bad.token}..x", f"_INBOX.{bad.token}.", f"_INBOX.{bad.token}x.y",
        "told.other.x.1",
        "$JS.API.STREAM.DELETE.TASKS", "task.other.r.x.1", "result.other.x.1", "", "inbox",
        f"_INBOX.{bad.token}.\ud800", f"_INBOX.{bad.token}." + "x" * 5000, 7, None, ["a"], {"a": 1},
    ]  # fmt: skip
    for aim in aims:
        question = json.dumps({"reply": aim, "run": "x", "ids": []}).encode()
        for verb in ("hello", "results", "lane", "cancel", "forget", "close"):
            await bad.nats.publish(f"ask.{bad.token}.{verb}", question)
        await bad.nats.flush()
        await asyncio.sleep(0.02)
    await expect_honest(shared, await run_batch(shared.join(), 2))
    came = [heard.get_nowait() for _ in range(heard.qsize())]
    wrong = {str(aim) for aim in aims} | {"a"}
    assert not [m.subject for m in came if m.subject in wrong and not m.subject.startswith("work")]
    assert not [m for m in came if m.subject.startswith("work") and b'"nodes"' in m.data]


@SHARED
@pytest.mark.parametrize("asked", [
    {"run": "*"}, {"run": ">"}, {"run": "x.y"}, {"run": "x y"}, {"run": ""}, {"run": None},
    {"run": "x", "ids": ["*"]}, {"run": "x", "ids": ["a.b"]}, {"run": "x", "ids": [">"]},
    {"run": "x", "ids": "abc"}, {"run": "x", "ids": {"a": 1}}, {"run": "x", "ids": [1]},
    {"run": "x", "ids": ["a"] * 100_000}, {"run": "x", "ids": ["1"], "routes": {"1": "*"}},
    {"run": "x", "ids": ["1"], "routes": []}, {"route": "a.b"}, {"route": "*"},
    {"route": "r", "models": "abc", "named": [], "open": True},
    {"route": "r", "models": ["\u0000" * 30_000], "named": [], "open": True},
    {"route": "r", "models": [10**300], "named": [{}], "open": []},
])  # fmt: skip
async def test_a_question_about_other_than_ones_own_names_reaches_nothing(
    shared: Field, client: Member, asked: dict[str, Any]
) -> None:
    network = shared.join(run_id="kept")
    results = await run_batch(network, 2)  # a named run: its results stay
    question = json.dumps({"reply": f"_INBOX.{client.token}.x", **asked}).encode()
    for verb in ("results", "cancel", "forget", "close", "lane"):
        await client.nats.publish(f"ask.{client.token}.{verb}", question)
    await client.nats.flush()
    await expect_honest(shared, results)
    await expect_ok(shared)
    wanted = {"subjects_filter": f"result.{network._credentials.token}.kept.*"}
    told = await shared.hub._streams._api("STREAM.INFO.RESULTS", wanted)
    assert len(told["state"]["subjects"]) == 2


async def test_a_client_with_a_name_like_anothers_queue_does_not_read_it(field: Field) -> None:
    """Of a client "a" with the route "b-c" and a client "a-b" with "c"."""
    await field.add_node(slots=1)
    one, two = await field.add_client("a"), await field.add_client("a-b")
    for member, route in ((one, "b-c"), (two, "c")):
        async with asking(member) as ask:
            await ask("lane", route=route, models=[MODEL], named=[], open=True)
    came = [await member.listen(f"told.{member.token}.>") for member in (one, two)]
    for number in range(10):
        await one.nats.publish(f"task.a.b-c.x.{number}", write_task())
        await two.nats.publish(f"task.a-b.c.x.{number}", write_task())
    await wait_until(lambda: [queue.qsize() for queue in came] == [10, 10], 20)


async def test_a_client_with_many_queues_waits_for_itself(field: Field) -> None:
    await field.add_node(slots=2, latency=0.02)
    client = await field.add_client()
    refused = 0
    async with asking(client) as ask:
        for number in range(200):
            answer = await ask("lane", route=f"r{number}", models=[MODEL], named=[], open=True)
            refused += "refused" in answer
            for task in range(3):
                await client.nats.publish(f"task.{client.token}.r{number}.x.{task}", write_task())
        assert len(field.hub._lanes._readers) <= 33
        alone = time.perf_counter()
        results = await run_batch(field.join(), 10)
        assert time.perf_counter() - alone < 5
        await expect_honest(field, results)


async def test_an_empty_queue_that_made_room_is_read_again(field: Field) -> None:
    await field.add_node()
    client = await field.add_client()
    came = await client.listen(f"told.{client.token}.>")
    async with asking(client) as ask:
        for number in range(70):
            answer = await ask("lane", route=f"r{number}", models=[MODEL], named=[], open=True)
            assert answer == {}
        await client.nats.publish(f"task.{client.token}.r0.x.1", write_task())
        await client.nats.flush()
        told = await ask("results", run="x", ids=["1"], routes={"1": "r0"})
        assert told == {"unknown": []}
        await wait_until(came.qsize, 10)


async def test_slots_are_shared_between_clients_not_between_queues(field: Field) -> None:
    agent = await field.add_node(slots=1, latency=0.03)
    greedy = await field.add_client()
    async with asking(greedy) as ask:
        for route in range(20):
            await ask("lane", route=f"r{route}", models=[MODEL], named=[], open=True)
            for number in range(20):
                await greedy.nats.publish(f"task.{greedy.token}.r{route}.x.{number}", write_task())
    await wait_until(lambda: agent._work)
    before = field.reputation(agent._node.address).completed if field.hub._registry._earned else 0
    await expect_honest(field, await run_batch(field.join(), 6))
    done = field.reputation(agent._node.address).completed - before
    assert done <= 24, "each of the six waited for about one of the other client's"


# -------------------------------------------------------------------------------------- flooding


@contextlib.asynccontextmanager
async def flooding(field: Field, name: str, kind: str) -> AsyncIterator[None]:
    """Have a program with somebody's credentials flood the network while this is open."""
    command = ["-m", "tests.acceptance.network_flood", field.url, str(field.home.files.creds(name))]
    flood = await asyncio.create_subprocess_exec(
        sys.executable, *command, kind, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        assert flood.stdout
        async with asyncio.timeout(15):
            assert await flood.stdout.readline() == b"flooding\n"
        yield
        assert flood.returncode is None, "the flood ended by itself"
    finally:
        with contextlib.suppress(ProcessLookupError):
            flood.kill()
        await flood.wait()


@pytest.mark.parametrize("kind", [
    "garbage results", "stale results", "stale states", "large results", "beats", "bad beats",
    "beats with many nonces", "unknown subjects", "subscriptions", "connections", "never reading",
])  # fmt: skip
async def test_a_flood_of_a_node_delays_others_by_little(tmp_path: Path, kind: str) -> None:
    async with make_field(tmp_path) as field:
        await field.add_node(slots=8)
        network = field.join()
        field.home.invite("node", "flooder")
        started = time.perf_counter()
        await run_batch(network, 40)
        alone = time.perf_counter() - started
        memory = psutil.Process().memory_info().rss
        async with flooding(field, "flooder", kind):
            started = time.perf_counter()
            await expect_honest(field, await run_batch(network, 40, seconds=60))
            flooded = time.perf_counter() - started
        # Three programs share two cores with the flood.
        assert flooded < max(5 * alone, 20.0), (alone, flooded)
        assert psutil.Process().memory_info().rss - memory < 300 * 2**20
        assert field.hub._broker.is_up


@pytest.mark.parametrize("kind", ["questions", "many results asked", "queues", "tasks"])
async def test_a_flood_of_a_client_delays_others_by_little(tmp_path: Path, kind: str) -> None:
    async with make_field(tmp_path) as field:
        await field.add_node(slots=8)
        network = field.join()
        field.home.invite("client", "flooder")
        started = time.perf_counter()
        await run_batch(network, 10)
        alone = time.perf_counter() - started
        memory = psutil.Process().memory_info().rss
        async with flooding(field, "flooder", kind):
            started = time.perf_counter()
            await expect_honest(field, await run_batch(network, 10, seconds=60))
            flooded = time.perf_counter() - started
        assert flooded < max(5 * alone, 40.0), (alone, flooded)
        assert psutil.Process().memory_info().rss - memory < 300 * 2**20


# --------------------------------------------------------------------- who is let in, what is kept


async def test_the_brokers_files_tell_nothing_of_what_is_said(tmp_path: Path) -> None:
    async with make_field(tmp_path) as field:
        await field.add_node(text=f"{MARKER} {HONEST}", latency=0.3, slots=2)
        graph = json.loads(make_task().workflow.model_dump_json())
        graph["external_memory"]["secret"] = MARKER
        client = await field.add_client()
        came = await client.listen(f"told.{client.token}.>")
        async with asking(client) as ask:
            await ask("lane", route="r", models=[MODEL], named=[], open=True)
        for number in range(8):
            await client.nats.publish(f"task.{client.token}.r.x.{number}", write_task(graph))
        await wait_until(lambda: came.qsize() >= 4)
        files = [file for file in field.home.path.rglob("*") if file.is_file()]
        stored = [file for file in files if file.is_relative_to(field.home.files.store)]
        assert any(file.stat().st_size for file in stored)
        for file in files:
            assert MARKER.encode() not in file.read_bytes(), file


@pytest.fixture(scope="module")
def closed_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NetworkHome, Path]]:
    """A network whose broker runs, and a directory of credentials that it does not take."""
    folder = tmp_path_factory.mktemp("closed")
    home = NetworkHome.create(folder / "net", port=find_ports())
    stranger = NetworkHome.create(folder / "other", port=find_ports())
    creds = folder / "creds"
    creds.mkdir()
    for kind in ("node", "client"):
        made = home.invite(kind, f"expired-{kind}", timedelta(seconds=1))
        (creds / f"expired-{kind}.creds").write_text(made.text)
        made = home.invite(kind, f"revoked-{kind}")
        (creds / f"revoked-{kind}.creds").write_text(made.text)
        home.revoke(f"revoked-{kind}")
        (creds / f"foreign-{kind}.creds").write_text(stranger.invite(kind, kind).text)
        (creds / f"no-{kind}.creds").write_text("nothing")
    server = asyncio.run(start_server(home))
    time.sleep(1.1)  # until the expired ones are
    yield home, creds
    server.kill()


@pytest.mark.parametrize("verb", ["node", "dialogue"])
@pytest.mark.parametrize(("which", "said"), [
    ("expired", "expired"), ("revoked", "revoked"), ("foreign", "of another"),
    ("no", "credentials"),
    ("absent", "no file"), ("wrong", r"node|client"),
])  # fmt: skip
def test_who_is_not_let_in_is_told_why(
    closed_home: tuple[NetworkHome, Path], verb: str, which: str, said: str
) -> None:
    home, creds = closed_home
    kind = "node" if verb == "node" else "client"
    file = creds / f"{which}-{kind}.creds"
    if which == "wrong":
        file = creds / f"foreign-{'client' if verb == 'node' else 'node'}.creds"
    words = [] if verb == "node" else PERSONAS
    done = run(MAGPIE, verb, "--network", home.local_url, "--creds", str(file), *words, timeout=30)
    assert done.returncode in {1, 2}
    assert re.search(said, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
